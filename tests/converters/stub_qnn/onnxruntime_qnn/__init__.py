"""Stands for Qualcomm's package in tests."""


def get_library_path() -> str:
    return "provider"


def get_qnn_htp_path() -> str:
    return "htp"
