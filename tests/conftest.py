"""One Ray for all tests that need one: starting it takes longer than most tests."""

import logging
import os
import shutil
import tempfile

import pytest


@pytest.fixture(scope='session')
def ray():
    """A connected Ray of this session's own: it joins no Ray that happens to run, and ends with the tests."""
    import ray

    from fpray.distributed.cluster import ENVIRONMENT

    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    folder = tempfile.mkdtemp(prefix='fpray-', dir='/tmp')  # Ray's sockets allow no long path
    ray.init(address='local', num_cpus=4, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False,
             _temp_dir=folder)
    yield ray
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
