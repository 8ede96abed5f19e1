"""What pyproject.toml cannot say: the compiled modules, and the message definitions made at build time."""

import importlib.util
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
# what each generator of packaging/ writes
DESCRIPTORS = {
    "etcd_descriptors": Path("dynamo_fe/discovery/_etcd_descriptors.py"),
    "kserve_descriptors": Path("dynamo_fe/grpc/_descriptors.py"),
}


def extensions() -> list[Extension]:
    """One extension in dynamo_fe._cext for every cext/*.pyx. Paths are relative: setuptools refuses absolute ones."""
    return [
        Extension(
            f"dynamo_fe._cext.{source.stem}",
            [f"cext/{source.name}"],
            include_dirs=["cext"],
            extra_compile_args=["-O2", "-g0"],
        )
        for source in sorted((ROOT / "cext").glob("*.pyx"))
    ]


def write_descriptors(package_parent: Path) -> None:
    """Makes the protobuf descriptors, in the package that lies in package_parent."""
    for name, written in DESCRIPTORS.items():
        spec = importlib.util.spec_from_file_location(name, ROOT / "packaging" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.generate(package_parent / written)


class BuildExtensions(build_ext):
    """build_ext runs in every kind of build (wheel, editable, in place), so the generated file is made here."""

    def run(self) -> None:
        super().run()
        write_descriptors(ROOT if self.inplace or self.editable_mode else Path(self.build_lib))


setup(
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",
        include_path=["cext", "."],
        language_level="3",
        quiet=True,
    ),
    cmdclass={"build_ext": BuildExtensions},
)
