"""Cases: files compressed, records coded alone, odd ones found."""

from __future__ import annotations

from bitlm_mcp.bench_all.derived import share_of_lpaq1
from bitlm_mcp.bench_all.peers import LPAQ1
from bitlm_mcp.bench_all.plan import BPB, BYTES_S, SHAKESPEARE, Case, Figure, high, low

RECORDS = "Records coded alone in whole bytes by a mixer that has learned others: {}."
ANOMALY = "Odd records among normal ones, of which others were learned: {}."


def _records(name: str, what: str, arguments: str, limit: float, goal: float) -> Case:
    figures = (
        low("bpb", "bits per byte, each record decodable alone", BPB, limit, goal),
        high("bytes_per_second", "coding", BYTES_S, 30_000),
    )
    return Case(name, "records", RECORDS.format(what), figures, 30, arguments + " --no-peers")


def _anomaly(name: str, what: str, arguments: str, limit: float, stream: float | None) -> Case:
    figures = (
        high("auroc", "AUROC, frozen", "", limit),
        high("streaming_auroc", "AUROC, each record learned after it was scored unless suspicious", "", stream),
        high("average_precision", "average precision, frozen"),
        Figure("length_auroc", "AUROC by length alone"),
    )
    return Case(name, "anomaly", ANOMALY.format(what), figures, 15, arguments)


DATA: tuple[Case, ...] = (
    Case(
        "compress",
        "compress",
        "Files coded without a model, decoded and compared; other compressors beside.",
        (
            low("ratio_to_lpaq1", "geometric mean against lpaq1's, as once measured", "×", 0.82, 0.78),
            low("geometric_mean_bpb", "geometric mean", BPB),
            low("peers.xz.geometric_mean_bpb", "xz -9e", BPB),
            low("peers.bzip2.geometric_mean_bpb", "bzip2 -9", BPB),
            low("peers.zstd.geometric_mean_bpb", "zstd -22, where installed", BPB),
            high("bytes_per_second", "coding", "bytes/CPU-s", 50_000, 100_000),
            low("peak_mib", "most memory held", "MiB", 400, 250),
        ),
        300,
        " ".join(f"{{{name}}}" for name in LPAQ1),
        derive=share_of_lpaq1,
    ),
    Case(
        "codecs",
        "codecs",
        "Every codec on a file, and run lengths of bits.",
        (
            low("ratio_model", "context mixing", "×"),
            low("ratio_lzma", "lzma", "×"),
            low("ratio_zstd", "zstd", "×"),
            low("ratio_zlib", "zlib", "×"),
            high("in_mb_s_model", "context mixing, in", "MB/CPU-s"),
            high("out_mb_s_model", "out", "MB/CPU-s"),
            high("in_mb_s_zstd", "zstd, in", "MB/CPU-s"),
            high("in_mb_s_lzma", "lzma, in", "MB/CPU-s"),
            high("in_mb_s_zlib", "zlib, in", "MB/CPU-s"),
            high("in_mb_s_bits_random", "run lengths of random bits, in", "MB/CPU-s", 100),
        ),
        45,
        data=SHAKESPEARE,
        alone=True,
    ),
    _records(
        "records-birdstrikes",
        "birdstrikes JSON",
        "--train {birdstrikes_train.jsonl} --test {birdstrikes_test.jsonl}",
        0.14,
        0.12,
    ),
    _records("records-hdfs", "HDFS log lines", "--train {HDFS_2k.log:first} --test {HDFS_2k.log:second}", 1.10, 0.95),
    _records(
        "records-openssh", "OpenSSH log lines", "--train {OpenSSH_2k.log:first} --test {OpenSSH_2k.log:second}", 1.00, 0.85
    ),
    _records(
        "records-modbus",
        "Modbus packets",
        "--train {modbus_a.pcap:first} --test {modbus_a.pcap:second} --format pcap",
        1.60,
        1.40,
    ),
    _anomaly(
        "anomaly-bgl", "alerts in a supercomputer's log", "--train {BGL_2k.log:normal} --test {BGL_2k.log:ranked}", 0.975, 0.975
    ),
    _anomaly(
        "anomaly-modbus",
        "packets with one to three bytes changed",
        "--train {modbus_train.tsv} --test {modbus_dev.tsv} --format tsv-hex",
        0.85,
        0.98,
    ),
    _anomaly(
        "anomaly-http",
        "attacks among HTTP parameters",
        "--train {http_train_norm.csv} --test {http_dev.csv} --format csv",
        0.998,
        None,
    ),
)
