"""lpaq1, the small context mixer that compression is measured against, where it is not installed: as it was once measured.

Bits per byte at level 7, built from source, container included, of the public files that `compress` codes. All other
compressors are run beside ours.
"""

from __future__ import annotations

LPAQ1 = {
    "tinyshakespeare.txt": 1.983,
    "enwik6": 1.815,
    "alice29.txt": 1.956,
    "ci.song.0.json": 1.663,
    "inspect.py": 1.376,
    "argparse.cpython-311.pyc": 2.381,
    "libz.so.1.2.13": 3.446,
    "liblzma.so.5.4.1": 3.486,
    "obj2": 1.960,
    "geo": 3.986,
    "pic": 0.681,
    "kppkn.gtb": 1.275,
    "geo.protodata": 0.760,
    "px4_sample_log_small.ulg": 3.073,
    "modbus_a.pcap": 1.092,
    "seattle-weather-hourly-normals.csv": 0.465,
    "nab_ambient_temperature.csv": 1.097,
    "librivox_0870.wav": 5.591,
    "camera.pgm": 3.926,
    "digits8x8.bin": 2.581,
    "fireworks.jpeg": 7.895,
    "chloroplast_NC_000932.txt": 1.911,
    "random_org_10k.bin": 8.058,
    "birdstrikes_train.jsonl": 0.173,
    "HDFS_2k.log": 0.980,
    "OpenSSH_2k.log": 0.237,
    "BGL_2k.log": 0.822,
}
LPAQ1_GIVEN_THE_REST = 1.911
"""Of the last tenth of tinyshakespeare, after the first nine."""
