FROM a
RUN <<EOF
echo a
  echo $b
EOF
RUN <<-"EOF"
	#!/usr/bin/python3
		print()
	EOF
RUN cat <<A 3<<-'B' > /x
a
A
	b
	B
RUN echo "<<NOT" 'it''s' \<<NOR
RUN echo it's <<EOF
COPY <<a.txt <<'b.txt' plain /dest/
$a
a.txt
$b
b.txt
RUN cat << SPACED
z
SPACED
RUN <<EOF cat
x
EOF
COPY ["<<EOF", "/x"]
