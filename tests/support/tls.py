# SPDX-License-Identifier: Apache-2.0
"""Certificates for servers on this machine."""
import subprocess
from pathlib import Path


def self_signed(directory):
    """(certificate, key) files for 127.0.0.1; the certificate is its own authority."""
    certificate, key = Path(directory) / "certificate", Path(directory) / "key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
        ],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return certificate, key
