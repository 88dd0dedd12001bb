from .bench.cases import grid
from .bench.defaults import Defaults, choose_defaults
from .bench.generate import GenerateReport, generate_speeds
from .bench.halting import halting_steps
from .bench.int8 import Int8Report, int8_cost_steps
from .bench.learn import LearnReport, learn_steps
from .bench.long_context import long_costs
from .bench.machine import describe
from .bench.memory import activations, depth_ratios
from .bench.peer import nanogpt_steps
from .bench.train import train_speeds
from .checkpoint.format import read_file, write_file
from .checkpoint.header import read_header
from .checkpoint.manifest import CheckpointInfo
from .checkpoint.store import NAME_PATTERN, CheckpointStore
from .codec import bits_from_digits, bits_to_bytes, bytes_to_bits
from .device import free_memory_bytes, require_memory
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
)
from .engine import Engine
from .engine_config import EngineConfig, estimate_engine_bytes
from .errors import (
    BitLMError,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointVersionError,
    CodecError,
    ConfigError,
    ModelStateError,
    ParityError,
    ResourceLimitError,
    SafetyGateError,
    SequenceTooLongError,
)
from .generation.autoregressive import Generation
from .generation.long_context import LongInference, WindowSummary
from .generation.many import generate_many
from .generation.sampling import SamplingConfig
from .learning import StepReport
from .mixing.config import MixingConfig
from .mixing.network_coding import code_stream, decode_stream, probe_digest
from .models.config import ModelConfig, count_parameters, preset_config
from .safety.floors import Floors, Verdict
from .scoring.likelihood import Likelihood
from .training.config import TrainingConfig, TrainingPlan
from .training.data import ByteData, bytes_in_memory, file_part

__all__ = [
    "NAME_PATTERN",
    "BitLMError",
    "ByteData",
    "CheckpointCorruptError",
    "CheckpointError",
    "CheckpointInfo",
    "CheckpointNotFoundError",
    "CheckpointStore",
    "CheckpointVersionError",
    "CodecError",
    "ConfigError",
    "Defaults",
    "Engine",
    "EngineConfig",
    "Floors",
    "GenerateReport",
    "Generation",
    "Int8Report",
    "LearnReport",
    "Likelihood",
    "LongInference",
    "MixingConfig",
    "ModelConfig",
    "ModelStateError",
    "ParityError",
    "ResourceLimitError",
    "SafetyGateError",
    "SamplingConfig",
    "SequenceTooLongError",
    "StepReport",
    "TrainingConfig",
    "TrainingPlan",
    "Verdict",
    "WindowSummary",
    "activations",
    "alone_in",
    "bits_from_digits",
    "bits_to_bytes",
    "bytes_in_memory",
    "bytes_to_bits",
    "change_within",
    "choose_defaults",
    "code_stream",
    "count_parameters",
    "create_text",
    "decode_stream",
    "depth_ratios",
    "describe",
    "digest_of",
    "estimate_engine_bytes",
    "file_part",
    "free_memory_bytes",
    "generate_many",
    "generate_speeds",
    "grid",
    "halting_steps",
    "int8_cost_steps",
    "learn_steps",
    "link_or_copy",
    "long_costs",
    "make_folder",
    "nanogpt_steps",
    "preset_config",
    "probe_digest",
    "read_file",
    "read_header",
    "remove_within",
    "replace_text",
    "require_memory",
    "require_space",
    "sweep_folders",
    "sync",
    "train_speeds",
    "write_file",
]
