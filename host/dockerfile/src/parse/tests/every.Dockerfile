# syntax=docker/dockerfile:1
ARG base=debian:12 other \
    third="a b"
FROM --platform=$BUILDPLATFORM ${base} AS Build
ARG a b= c='x y'
ENV A=1 B="two words" C=three\ words \
    D='$single'
ENV LEGACY  a value "with" spaces
LABEL "a key"=value other="x\
y"
RUN apt-get update && \
    # a comment in between
    apt-get install
RUN ["/bin/echo", "a b", "\u00e9"]
run ["not", 'json']
RUN --mount=type=cache,target=/c --network=none make
COPY --from=0 --chown=1:2 --chmod=755 a b "c/"
COPY ["a b", "c d"]
ADD --checksum=sha256:ab --unpack=false https://example.com/x /y
COPY --link --exclude=a --exclude=b --parents=false a b
ADD -- --odd /
WORKDIR  /a b
USER "$user":group
SHELL ["/bin/bash", "-c"]
CMD echo $HOME
CMD []
ENTRYPOINT ["a"]
EXPOSE 80 443/udp 7000-7002
VOLUME /b ["/a"]
VOLUME ["/a", "/b c"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=1m30s --timeout=1.5s --retries=3 CMD curl -f / || exit 1
HEALTHCHECK cmd ["a", "b"]
HEALTHCHECK none
ONBUILD RUN make  all
ONBUILD COPY <<E /x
content
E
MAINTAINER A B <c@example.com>
FROM build
