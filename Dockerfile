# The trainer's image: trainer/ and what it imports; nothing of the launcher, no pip, no compiler.
# `make image` builds it with docker (20.10 or newer) or buildah.
#
# The base. torch's wheels carry each CUDA library that they load (runtime, cuBLAS, cuDNN, NCCL), so the `runtime` and
# `devel` flavours would add gigabytes that nothing opens. The small `base` flavour, of the CUDA version that
# torch was built for, adds what a wheel cannot: the compatibility libraries that let an older data-center driver run this
# CUDA, and NVIDIA_REQUIRE_CUDA, by which the container toolkit refuses an unfit driver in words before anything starts.
# Its Ubuntu 24.04 has Python 3.12. Any Debian or Ubuntu with Python 3.11 or newer serves where no GPU is used.
# Releases name it by digest: make image BASE=...@sha256:...
ARG BASE=docker.io/nvidia/cuda:13.0.2-base-ubuntu24.04

FROM ${BASE} AS base
RUN command -v python3 || { \
        apt-get update && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*; }


# The trainer's requirements alone in a file: the steps after it are taken from the cache until this list changes,
# whatever else changes in pyproject.toml. `pip install .[trainer]` would also bring what the launcher needs.
# EXTRAS: other such lists for the image, in a row: make image EXTRAS=mlflow
FROM base AS requirements
ARG EXTRAS=""
COPY pyproject.toml /build/
RUN python3 -c 'import sys, tomllib; project = tomllib.load(open("/build/pyproject.toml", "rb"))["project"]; \
print(*(line for extra in sys.argv[1:] for line in project["optional-dependencies"][extra]), sep="\n")' \
    trainer ${EXTRAS} > /build/requirements.txt


FROM base AS dependencies
RUN python3 -c 'import ensurepip' || { \
        apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*; }
# pip lives beside the environment that it fills, so that none is in the image. The .pth file adds our code's folder.
RUN python3 -m venv /build/pip && python3 -m venv --without-pip /opt/venv && \
    echo /opt/trainer > "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/trainer.pth"
COPY --from=requirements /build/requirements.txt /build/
COPY constraints.txt /build/
# The build machine's pip settings and certificates may hold addresses and passwords. They are mounted for this step
# only and end up in no layer, no variable and no history; without them pip uses its defaults.
RUN --mount=type=secret,id=pip_conf --mount=type=secret,id=ca_bundle \
    export PIP_CONFIG_FILE=/run/secrets/pip_conf; \
    if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi; \
    /build/pip/bin/pip --python /opt/venv/bin/python install --quiet --no-cache-dir --no-compile --only-binary :all: \
        --constraint /build/constraints.txt --requirement /build/requirements.txt
# The root is read-only at run time and the user is not its owner, so nothing could write bytecode there later.
# Not checked against the sources: those cannot change either. A few packages ship files for other versions of Python,
# which do not compile; the tests look at what must. Static libraries are of no use without a linker.
RUN find /opt/venv -name '*.a' -delete && \
    { /opt/venv/bin/python -m compileall -qq -f -j 0 --invalidation-mode unchecked-hash /opt/venv/lib || true; }


# Our code, readable for everybody whatever the umask of the checkout, and the name and version that runs record.
FROM base AS code
COPY trainer /opt/trainer/trainer
COPY launcher/__init__.py /build/version.py
RUN cd /opt/trainer && \
    version="$(python3 -c 'import runpy; print(runpy.run_path("/build/version.py")["__version__"])')" && \
    info="pytorchjob_launcher-${version}.dist-info" && mkdir "${info}" && \
    printf 'Metadata-Version: 2.1\nName: pytorchjob-launcher\nVersion: %s\n' "${version}" > "${info}/METADATA" && \
    python3 -m compileall -q --invalidation-mode unchecked-hash trainer && \
    chmod -R a+rX,go-w /opt/trainer


FROM base
# Gigabytes that change with constraints.txt, then kilobytes that change with every commit.
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=code /opt/trainer /opt/trainer
COPY LICENSE /opt/trainer/

# HOME: a read-only root leaves /tmp, and every cache (torch, triton, matplotlib) follows HOME. USER: there is no
# entry for our number in /etc/passwd, nor for the one that OpenShift picks, and getpass.getuser() then needs the variable.
# NVIDIA_VISIBLE_DEVICES: CUDA images say "all", which on some runtimes hands out every GPU of the node to a container
# that asked for none; device plugins and `--gpus` replace the value.
ENV PATH=/opt/venv/bin:${PATH} \
    HOME=/tmp \
    USER=trainer \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=void \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

LABEL org.opencontainers.image.title="pytorchjob-launcher trainer" \
      org.opencontainers.image.description="Trains a PyTorch model from a run file" \
      org.opencontainers.image.licenses="Apache-2.0"

# By number, so that Kubernetes can verify runAsNonRoot.
USER 10001:10001
STOPSIGNAL SIGTERM
# No init: the trainer's supervisor handles SIGTERM from its first moment and collects orphans. -P keeps a trainer.py in
# the working directory from being taken for ours.
ENTRYPOINT ["/opt/venv/bin/python", "-P", "-m", "trainer"]
