ARG GLOBAL=global
FROM debian:12
ARG GIVEN UNSET GLOBAL DEFAULT="a b"
ENV A=$DEFAULT B="x${A}y" BASE=changed
ENV LEGACY some value
RUN echo "$A" $HOME
SHELL ["/bin/bash", "-ec"]
run ["/bin/echo", "$A"]
RUN <<EOF
echo one
echo two
EOF
RUN <<-'PY'
	#!/usr/bin/env python3
	print("$A")
	PY
RUN cat <<X > /x
$A
X
WORKDIR rel/$GLOBAL/
WORKDIR /abs/
WORKDIR ..
COPY a "b$A" --not-a-flag* ./
COPY --chown=$GIVEN:0 --chmod=u=rwX,go=rX . sub
COPY <<one <<'two' plain /dest/.
$A "$B"
one
$A
two
ADD ["a.tar", "../up", "."]
ADD --unpack=false a.tar /x
USER $GIVEN
WORKDIR /home/$GIVEN
LABEL a=$A "b c"='d "e"'
EXPOSE 90/udp 80 70-71
VOLUME $A /v
VOLUME ["/json"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=90s --timeout=1500ms --retries=2 CMD test -f /x
ENTRYPOINT exec $A
CMD ["a", "b \"c\""]
ONBUILD RUN $X
MAINTAINER Me <me@example.com>
