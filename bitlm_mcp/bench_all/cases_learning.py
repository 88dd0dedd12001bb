"""Cases: what models learn, and how soon."""

from __future__ import annotations

from bitlm_mcp.bench_all.derived import behind_final_size, student_behind_alone
from bitlm_mcp.bench_all.plan import BPB, SHAKESPEARE, SHARE, TEXT, Case, Figure, high, low

LEARNED = (
    low("bpb_online", "adapting as it codes", BPB),
    low("bpb_static", "frozen", BPB),
    low("bpb_network", "the network alone, frozen", BPB),
    low("bpb_xz", "xz -9e, given the first 90 %", BPB),
    low("bpb_bzip2", "bzip2 -9, the same", BPB),
    Figure("steps", "steps"),
)
LEARN = "Bits per byte of the last tenth of a file, the first nine learned for {} CPU seconds on one thread."

LEARNING: tuple[Case, ...] = (
    Case(
        "learn-180",
        "learn",
        LEARN.format(180),
        (
            low("bpb_online", "adapting as it codes", BPB, 1.82, 1.78),
            low("bpb_static", "frozen", BPB, 2.00, 1.95),
            *LEARNED[2:],
            low("seconds_to_2739_mixed", "until it is where nanoGPT's CPU recipe is after 180", "CPU-s", 5),
        ),
        220,
        "--seconds 180",
        SHAKESPEARE,
        alone=True,
    ),
    Case("learn-60", "learn", LEARN.format(60), LEARNED, 80, "--seconds 60", SHAKESPEARE),
    Case("learn-20", "learn", LEARN.format(20), LEARNED, 40, "--seconds 20", SHAKESPEARE),
    Case("learn-text", "learn", f"The same of {TEXT}, after 60 CPU seconds.", LEARNED, 70, "--seconds 60"),
    Case(
        "learn-mixing",
        "learn",
        "Context mixing alone, without a network, until all was read.",
        (*LEARNED[:2], *LEARNED[3:5]),
        15,
        "--architecture mix",
        SHAKESPEARE,
    ),
    Case(
        "learn-network",
        "learn",
        "The network alone, for 180 CPU seconds on one thread.",
        (
            low("bpb_network", "frozen", BPB, 2.18, 2.10),
            low("seconds_to_2739", "until it is where nanoGPT's CPU recipe is after 180", "CPU-s", 20),
            Figure("steps", "steps"),
        ),
        210,
        "--seconds 180 --no-mixing",
        SHAKESPEARE,
    ),
    Case(
        "halting",
        "halting",
        "Positions that halt early beside those that never do, six layers, 60 steps.",
        (
            low("bpb_ratio", "bits per byte", "×", 1.01),
            low("step_ratio", "time of a step", "×", 1.0),
            Figure("mean_layers", "layers of six that are used"),
        ),
        60,
        "--steps 60",
        "HDFS_2k.log",
    ),
    Case(
        "diffusion",
        "diffusion",
        "Masked diffusion learned for 180 CPU seconds; samples judged by a causal network.",
        (
            low("bpb_bound", "upper bound on bits per byte", BPB, 2.95, 2.85),
            high("holes_1", "holes of one byte restored", SHARE, 0.64),
            high("holes_2", "of two", SHARE, 0.55),
            high("holes_4", "of four", SHARE, 0.40),
            low("samples_bpb", "samples, by the judge", BPB, 3.8),
            high("samples_byte_entropy", "entropy of their bytes", "bits", 4.5),
            high("samples_distinct_4grams", "distinct among their 4-grams", SHARE, 0.6),
        ),
        420,
        "--seconds 180",
        SHAKESPEARE,
    ),
    Case(
        "samples",
        "samples",
        "Samples by diffusion in 16 passes, model and judge 30 CPU seconds each.",
        (
            low("bpb", "spread", BPB),
            high("byte_entropy", "entropy of bytes", "bits"),
            high("distinct_4grams", "distinct 4-grams", SHARE),
        ),
        90,
        "--seconds 30 --orders spread",
        SHAKESPEARE,
    ),
    Case(
        "patches",
        "patches",
        "Byte-latent networks of patches of four beside byte networks of as many parameters, 60 CPU seconds each.",
        (
            low("bpb_patch_4", "patches of four", BPB),
            low("bpb_byte", "bytes", BPB),
            high("train_speed_ratio_4", "training speed", "×", None, 1.5),
            high("generate_speed_ratio_4", "drawing speed", "×", 1.0),
            low("flops_ratio_4", "operations per byte", "×"),
        ),
        160,
        "--seconds 60 --sizes 4",
        SHAKESPEARE,
    ),
    Case(
        "growth",
        "growth",
        "Networks of every kind that grow in every way after 10 CPU seconds.",
        (
            low("logit_difference", "largest change of a logit", "", 1e-5),
            low("loss_jump_percent", "loss after one step more", "%", 0.5),
        ),
        110,
        "--seconds 10 --progressive-seconds 0",
        SHAKESPEARE,
    ),
    Case(
        "progressive",
        "progressive",
        "A network that grows while it learns, in 0.8 of the 60 CPU seconds of its final size.",
        (
            low("behind", "behind the final size", BPB, 0.0),
            low("bpb_progressive", "grown", BPB),
            low("bpb_final", "final size from the start", BPB),
            low("bpb_start", "the small one as it is", BPB),
        ),
        180,
        "--seconds 60 --improve-threshold 0.05",
        "enwik6",
        derive=behind_final_size,
    ),
    Case(
        "distill",
        "distill",
        "A student of a quarter of the parameters, 50 CPU seconds, beside the same size alone; teacher 120.",
        (
            high("gain_kept", "of the teacher's gain over knowing nothing, kept", SHARE, 0.97),
            low("behind_alone", "student behind the same size alone", BPB, 0.0),
            low("parameters_share", "parameters against the teacher's", SHARE, 0.25),
            low("bpb_teacher", "teacher", BPB),
            low("bpb_student", "student", BPB),
            low("bpb_alone", "alone", BPB),
        ),
        260,
        "--teacher-seconds 120 --seconds 50 --num-clusters 0",
        SHAKESPEARE,
        derive=student_behind_alone,
    ),
)
