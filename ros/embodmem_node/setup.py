"""What colcon installs: an entry point, a launch file and settings; the code is in the pip package embodmem."""

from setuptools import setup

NAME = "embodmem_node"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/memory.launch.py"]),
        (f"share/{NAME}/config", ["config/memory.yaml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="embodmem developers",
    maintainer_email="embodmem@users.noreply.github.com",
    description="The embodmem memory as a lifecycle node.",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"memory = {NAME}.main:main"]},
)
