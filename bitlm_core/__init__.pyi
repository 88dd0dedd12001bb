from .ahead import KINDS, compile_ahead
from .bench.anomaly import AnomalyReport, anomaly_steps
from .bench.cases import grid
from .bench.codecs import CodecsReport, codec_bench_steps
from .bench.coding import FileFigures, file_figures, geometric_mean
from .bench.compressors import compressed_sizes, record_sizes
from .bench.defaults import Defaults, choose_defaults
from .bench.diffusion import DiffusionReport, diffusion_bench_steps
from .bench.diffusion_samples import learn_and_sample_steps
from .bench.distill import DistillBenchReport, DistillTrial, distill_bench_steps
from .bench.generate import GenerateReport, generate_speeds
from .bench.growth import GrowthReport, GrowthTrial, growth_bench_steps
from .bench.halting import halting_steps
from .bench.int8 import Int8Report, int8_cost_steps
from .bench.labelled import LabelledForm, read_labelled
from .bench.learn import LearnReport, compressors_given_the_rest, learn_steps
from .bench.long_context import long_costs
from .bench.machine import describe
from .bench.memory import activations, depth_ratios
from .bench.patches import PatchesReport, PatchTrial, patch_bench_steps
from .bench.peer import nanogpt_steps
from .bench.progressive import ProgressiveReport, ProgressiveTrial, progressive_bench_steps
from .bench.quantize import QuantizeReport, quantize_bench_steps
from .bench.records import read_records, records_report
from .bench.repair import RepairReport, RepairTrial, repair_bench_steps
from .bench.safety import SafetyReport, safety_steps
from .bench.scaling import Scaling, measure_scaling
from .bench.telemetry import TelemetryReport, telemetry_steps
from .bench.train import train_speeds
from .checkpoint.format import read_file, write_file
from .checkpoint.header import read_header
from .checkpoint.manifest import CheckpointInfo
from .checkpoint.store import NAME_PATTERN, CheckpointStore
from .codec import (
    RECORDS_PATTERN,
    PackedBits,
    bits_from_digits,
    bits_to_bytes,
    bits_to_text,
    bytes_to_bits,
    check_records,
    compress_bits,
    compress_packed,
    compress_rows,
    compression_ratio,
    decompress_bits,
    decompress_packed,
    decompress_rows,
    enforce_parity,
    pack_bits,
    record_spans,
    text_to_bits,
    unpack_bits,
)
from .compression.codecs import CodecName, GeneralName, general_codec
from .compression.coded import Coded, code_or_raw_steps, code_steps, decode_steps
from .compression.container import DecoderLimits
from .compression.decompress import ContainerInfo, container_info, decompress_record, decompress_record_steps, decompress_steps
from .compression.model_codec import ModelCodec
from .compression.self_contained import compress_steps, config_for
from .device import free_memory_bytes, require_memory, usable_cores, used_memory_bytes
from .distributed.parallel import Parallel, check_parallel
from .distributed.places import most_processes
from .distributed.session import follow, leading
from .distributed.shards import Shards
from .distributed.world import World, joined
from .durable import (
    alone_in,
    change_within,
    create_text,
    digest_of,
    link_or_copy,
    make_folder,
    remove_within,
    replace_text,
    require_space,
    sweep_folders,
    sync,
    write_whole,
)
from .engine import Engine
from .engine_config import EngineConfig, check_quantization, check_telemetry, check_training, estimate_engine_bytes
from .errors import (
    BitLMError,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointVersionError,
    CodecError,
    ConfigError,
    ContainerError,
    HubConflictError,
    HubError,
    HubRepositoryError,
    ModelStateError,
    ParityError,
    ResourceLimitError,
    RunLengthError,
    SafetyGateError,
    SequenceTooLongError,
)
from .generation.autoregressive import Generation
from .generation.diffusion_sampling import DiffusionSampling
from .generation.filling import Filling, FillingState
from .generation.long_context import LongInference, WindowSummary
from .generation.many import generate_many
from .generation.sampling import SamplingConfig
from .generation.template import Template
from .hub.connection import Hub
from .hub.names import HUB_ENDPOINT, check_fetch, check_push
from .hub.pull import Fetched, fetch_checkpoint
from .hub.push import Pushed, push_checkpoint
from .learning import StepReport
from .mixing.config import MixingConfig
from .mixing.mixer import ContextMixer
from .models.blt_config import BLTConfig
from .models.compressed_input import CompressedForward, forward_compressed
from .models.config import ModelConfig, count_parameters
from .models.flops import flops_per_byte
from .models.patch_inspection import inspect_model_patches
from .models.presets import preset_config
from .patching.boundaries import PatchStatistics, patch_starts, patch_statistics
from .patching.config import PatchingConfig
from .patching.entropy import EntropyFit, EntropyModel
from .patching.inspection import PatchInspection, inspect_patches
from .patching.patcher import Patcher
from .repair.damage import Damage, damaged_ranges, failed_parity, packed_groups
from .repair.settings import MARGIN_BITS, RepairSettings
from .repair.steps import Repair, fresh_mixer, repair_steps
from .repair.suspicion import suspected_steps
from .safety.calibrate import Calibration, adopt_floors, calibrate_floors, calibrate_steps
from .safety.floors import Floors, GateState, Verdict
from .safety.retry import Attempt, SafeSample, safe_sample, safe_sample_steps
from .safety.session import Gate
from .scoring.excerpt import Excerpt, excerpt_steps
from .scoring.heatmap import Cells, cells_of, heat_map
from .scoring.likelihood import Likelihood
from .scoring.score import RecordScore, Score, self_score_steps
from .scoring.streaming import Judged
from .scoring.surprise import Span
from .scoring.watch import Watch
from .steps import finished, scaled, timed
from .telemetry.config import TelemetryConfig
from .telemetry.metrics import SequenceMetrics, byte_histogram, composite_score, measure_bits
from .telemetry.patch_plot import draw_patches
from .telemetry.plot import draw_run
from .telemetry.synthesizer import Clusters, synthesize
from .training.compressed import Feed, Shown
from .training.config import TrainingConfig, TrainingPlan
from .training.data import ByteData, bytes_in_memory, file_part
from .training.growing import Growing, Growth, GrowthEvent, ProgressiveConfig
from .training.statistics import DataStatistics, data_statistics
from .transform.afterwards import Small, SmallReport, small_steps
from .transform.cycle import grown_config, next_growth
from .transform.distill_config import DistillConfig
from .transform.distill_report import DistillProgress, DistillReport, DistillRound
from .transform.distillation import Distilled, collapse_submodel, distill_steps
from .transform.growth import add_layer, double_length, double_width, grow, grow_steps
from .transform.progressive import Progressive
from .transform.quantization import dequantize, network_bytes, quantize, quantize_dynamic, quantize_steps
from .transform.students import (
    check_ending,
    check_smaller,
    estimate_distill_bytes,
    estimate_small_bytes,
    student_config,
    target_config,
)

__all__ = [
    "HUB_ENDPOINT",
    "KINDS",
    "MARGIN_BITS",
    "NAME_PATTERN",
    "RECORDS_PATTERN",
    "AnomalyReport",
    "Attempt",
    "BLTConfig",
    "BitLMError",
    "ByteData",
    "Calibration",
    "Cells",
    "CheckpointCorruptError",
    "CheckpointError",
    "CheckpointInfo",
    "CheckpointNotFoundError",
    "CheckpointStore",
    "CheckpointVersionError",
    "Clusters",
    "CodecError",
    "CodecName",
    "CodecsReport",
    "Coded",
    "CompressedForward",
    "ConfigError",
    "ContainerError",
    "ContainerInfo",
    "ContextMixer",
    "Damage",
    "DataStatistics",
    "DecoderLimits",
    "Defaults",
    "DiffusionReport",
    "DiffusionSampling",
    "DistillBenchReport",
    "DistillConfig",
    "DistillProgress",
    "DistillReport",
    "DistillRound",
    "DistillTrial",
    "Distilled",
    "Engine",
    "EngineConfig",
    "EntropyFit",
    "EntropyModel",
    "Excerpt",
    "Feed",
    "Fetched",
    "FileFigures",
    "Filling",
    "FillingState",
    "Floors",
    "Gate",
    "GateState",
    "GeneralName",
    "GenerateReport",
    "Generation",
    "Growing",
    "Growth",
    "GrowthEvent",
    "GrowthReport",
    "GrowthTrial",
    "Hub",
    "HubConflictError",
    "HubError",
    "HubRepositoryError",
    "Int8Report",
    "Judged",
    "LabelledForm",
    "LearnReport",
    "Likelihood",
    "LongInference",
    "MixingConfig",
    "ModelCodec",
    "ModelConfig",
    "ModelStateError",
    "PackedBits",
    "Parallel",
    "ParityError",
    "PatchInspection",
    "PatchStatistics",
    "PatchTrial",
    "Patcher",
    "PatchesReport",
    "PatchingConfig",
    "Progressive",
    "ProgressiveConfig",
    "ProgressiveReport",
    "ProgressiveTrial",
    "Pushed",
    "QuantizeReport",
    "RecordScore",
    "Repair",
    "RepairReport",
    "RepairSettings",
    "RepairTrial",
    "ResourceLimitError",
    "RunLengthError",
    "SafeSample",
    "SafetyGateError",
    "SafetyReport",
    "SamplingConfig",
    "Scaling",
    "Score",
    "SequenceMetrics",
    "SequenceTooLongError",
    "Shards",
    "Shown",
    "Small",
    "SmallReport",
    "Span",
    "StepReport",
    "TelemetryConfig",
    "TelemetryReport",
    "Template",
    "TrainingConfig",
    "TrainingPlan",
    "Verdict",
    "Watch",
    "WindowSummary",
    "World",
    "activations",
    "add_layer",
    "adopt_floors",
    "alone_in",
    "anomaly_steps",
    "bits_from_digits",
    "bits_to_bytes",
    "bits_to_text",
    "byte_histogram",
    "bytes_in_memory",
    "bytes_to_bits",
    "calibrate_floors",
    "calibrate_steps",
    "cells_of",
    "change_within",
    "check_ending",
    "check_fetch",
    "check_parallel",
    "check_push",
    "check_quantization",
    "check_records",
    "check_smaller",
    "check_telemetry",
    "check_training",
    "choose_defaults",
    "code_or_raw_steps",
    "code_steps",
    "codec_bench_steps",
    "collapse_submodel",
    "compile_ahead",
    "composite_score",
    "compress_bits",
    "compress_packed",
    "compress_rows",
    "compress_steps",
    "compressed_sizes",
    "compression_ratio",
    "compressors_given_the_rest",
    "config_for",
    "container_info",
    "count_parameters",
    "create_text",
    "damaged_ranges",
    "data_statistics",
    "decode_steps",
    "decompress_bits",
    "decompress_packed",
    "decompress_record",
    "decompress_record_steps",
    "decompress_rows",
    "decompress_steps",
    "depth_ratios",
    "dequantize",
    "describe",
    "diffusion_bench_steps",
    "digest_of",
    "distill_bench_steps",
    "distill_steps",
    "double_length",
    "double_width",
    "draw_patches",
    "draw_run",
    "enforce_parity",
    "estimate_distill_bytes",
    "estimate_engine_bytes",
    "estimate_small_bytes",
    "excerpt_steps",
    "failed_parity",
    "fetch_checkpoint",
    "file_figures",
    "file_part",
    "finished",
    "flops_per_byte",
    "follow",
    "forward_compressed",
    "free_memory_bytes",
    "fresh_mixer",
    "general_codec",
    "generate_many",
    "generate_speeds",
    "geometric_mean",
    "grid",
    "grow",
    "grow_steps",
    "grown_config",
    "growth_bench_steps",
    "halting_steps",
    "heat_map",
    "inspect_model_patches",
    "inspect_patches",
    "int8_cost_steps",
    "joined",
    "leading",
    "learn_and_sample_steps",
    "learn_steps",
    "link_or_copy",
    "long_costs",
    "make_folder",
    "measure_bits",
    "measure_scaling",
    "most_processes",
    "nanogpt_steps",
    "network_bytes",
    "next_growth",
    "pack_bits",
    "packed_groups",
    "patch_bench_steps",
    "patch_starts",
    "patch_statistics",
    "preset_config",
    "progressive_bench_steps",
    "push_checkpoint",
    "quantize",
    "quantize_bench_steps",
    "quantize_dynamic",
    "quantize_steps",
    "read_file",
    "read_header",
    "read_labelled",
    "read_records",
    "record_sizes",
    "record_spans",
    "records_report",
    "remove_within",
    "repair_bench_steps",
    "repair_steps",
    "replace_text",
    "require_memory",
    "require_space",
    "safe_sample",
    "safe_sample_steps",
    "safety_steps",
    "scaled",
    "self_score_steps",
    "small_steps",
    "student_config",
    "suspected_steps",
    "sweep_folders",
    "sync",
    "synthesize",
    "target_config",
    "telemetry_steps",
    "text_to_bits",
    "timed",
    "train_speeds",
    "unpack_bits",
    "usable_cores",
    "used_memory_bytes",
    "write_file",
    "write_whole",
]
