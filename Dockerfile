# surgeon on a CPU, from a wheel of this checkout: docker build -t surgeon . && docker run --rm surgeon --version
# Untested: it was written where no Docker daemon ran. Its steps by themselves (building the wheel, installing it into an empty environment, the
# command) are what tests/test_package.py and the release workflow do.
FROM python:3.11-slim AS built
WORKDIR /src
RUN pip install --no-cache-dir build
COPY . .
RUN python -m build --wheel

FROM python:3.11-slim
COPY --from=built /src/dist/*.whl /tmp/
RUN pip install --no-cache-dir "$(ls /tmp/*.whl)[train,report,export]" && \
    pip install --no-cache-dir --no-deps torchattacks==3.5.1 adv-lib==0.2.8 && \
    rm /tmp/*.whl && surgeon --version
RUN useradd --create-home worker
USER worker
WORKDIR /home/worker
ENTRYPOINT ["surgeon"]
CMD ["--help"]
