#!/usr/bin/env bash
# Rules that no compiler checks. Prints every violation as file:line: rule; exits with 1 on any.
set -euo pipefail
cd "$(dirname "$0")/.."

found=$(mktemp)
trap 'rm -f "$found"' EXIT

# report RULE: each line of input is a violation, in the form file:line:text.
report() {
  local rule=$1 line
  while IFS= read -r line; do
    echo "$(cut -d: -f1,2 <<<"$line"): $rule" >>"$found"
  done
}

# swift_lines PATTERN FOLDER...: matching lines of Swift files, without those that are comments.
swift_lines() {
  local pattern=$1
  shift
  grep -rnE --include='*.swift' "$pattern" "$@" | grep -vE '^[^:]+:[0-9]+: *//' || true
}

# ---- What a library may not do.
swift_lines '(^|[^A-Za-z0-9_.])(print|debugPrint|dump)\(' Sources \
  | grep -vE '^Sources/xtuner(-engine)?/' \
  | report 'a library does not print; return the text, or report progress to the caller' || true
swift_lines '(^|[^A-Za-z0-9_.])fatalError\(' Sources \
  | grep -v '^Sources/Torch/TorchCall.swift:' \
  | report 'fatalError only in Torch/TorchCall.swift; throw, or use precondition with a message' || true
swift_lines '(^|[^A-Za-z0-9_])(try!|as!)' Sources \
  | report 'try! and as! are for tests; handle the failure' || true
swift_lines '(^|[^A-Za-z0-9_.])assert(ionFailure)?\(' Sources \
  | report 'use precondition: what is worth checking is worth checking in release' || true

# ---- Text from outside is compared by its bytes, which String does not do: ExactText is the key.
{
  swift_lines '\[String *:|Set<String>|Dictionary<String' Sources
  swift_lines '(^|[^A-Za-z0-9_.])(Set|Dictionary)\(.*(name|path|file|key|content|parameter)' Sources \
    | grep -vE 'ExactText|\.init\)|indices'
} | grep -vE 'environment: \[String: String\]' | while IFS=: read -r file line text; do
  above=$(sed -n "$((line - 1))p" "$file")
  if [[ $text$above != *"// own names"* ]]; then echo "$file:$line:$text"; fi
done | report 'text from outside needs ExactText for a key; say "// own names" where all are ours' || true

swift_lines 'FileHandle\.standard(Output|Error)' Sources \
  | report 'traps where the stream is gone; write with StandardStream' || true
swift_lines '0o(644|755)' Sources \
  | report 'the umask decides: files are made with 0o666, folders with 0o777' || true

# ---- Unchecked promises to the compiler say why, on their line or the one above.
swift_lines '@unchecked Sendable|nonisolated\(unsafe\)' Sources | while IFS=: read -r file line text; do
  above=$(sed -n "$((line - 1))p" "$file")
  if [[ $text != *//* && $above != *//* ]]; then echo "$file:$line:$text"; fi
done | report 'needs a comment that names the lock or the reason' || true

# ---- A handle keeps nothing alive: whoever gives one to C keeps its owner, or a temporary is freed before the call.
find Sources/Torch -name '*.swift' | xargs awk '
  FNR == 1 { held = called = 0 }
  /^ ? ? ? ?((public|package|private|fileprivate|static|final|mutating) )*(func|var|init|subscript|deinit)[ (?<]/ {
    held = 0
  }
  /withExtendedLifetime|withHandle/ { held = 1 }
  {
    line = called ? "ct_call(" $0 : $0
    called = line ~ /ct_[a-z0-9_]+\($/
    if (!held && line ~ /ct_[a-z0-9_]+\( *(handle|raw|[a-zA-Z.]+\.handle)[,)]/ &&
        line !~ /ct_([a-z_]*_free|profile_|device_|stream_)/) print FILENAME ":" FNR ":" $0
  }' \
  | report 'a handle is given to C outside withExtendedLifetime or withHandle of its owner' || true

# ---- Files
find Sources Tests scripts -name '*.swift' -o -name '*.h' -o -name '*.cpp' | grep -viE '/generated/|ctorch_ops\.h' \
  | while read -r file; do
    count=$(wc -l <"$file")
    if [ "$count" -gt 500 ]; then echo "$file:$count:"; fi
  done | report 'files have at most 500 lines; split it by type or by group of operations' || true

# Tables of published texts and the output for terminals may hold any character.
LC_ALL=C grep -rnP --include='*.swift' --include='*.h' --include='*.cpp' '[^\x00-\x7F]' Sources \
  | grep -vE '^[^:]+:[0-9]+: *//' \
  | grep -vE '^Sources/(XTunerTokenizers/Chat|XTunerData/Formats|XTunerRun/Metrics)/' \
  | report 'ASCII in code; write \u{...} in texts' || true

# ---- Modules
python3 scripts/check_modules.py | while IFS= read -r line; do
  echo "$line" >>"$found"
done || true

# ---- The repository stands alone: no path of a machine, no private host, no whitespace at line ends.
mapfile -d '' tracked < <(git ls-files -z --cached --others --exclude-standard \
  | grep -zvE '\.(safetensors|gz|zst|bin|png)$|^scripts/soundness\.sh$|/Fixtures/')
grep -nIE '(^|[^A-Za-z0-9_.-])/(work|root|home/[a-z]+|Users/[a-z]+)/|://(localhost|10\.|192\.168\.)' \
  "${tracked[@]}" /dev/null 2>/dev/null | report 'names a path or host of one machine' || true
grep -nIE '[[:blank:]]+$' "${tracked[@]}" /dev/null 2>/dev/null | grep -v '^LICENSE:' \
  | report 'whitespace at the end of the line' || true

if [ -s "$found" ]; then
  sort -t: -k1,1 -k2,2n "$found"
  echo "$(wc -l <"$found") violations" >&2
  exit 1
fi
