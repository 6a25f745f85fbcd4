# Writes what names the prover in the keys of kept results: a hash of the code that decides them
# (engine, theorems, model), not of the tool that runs and prints them.
set(all "")
foreach(part IN LISTS PARTS)
  file(SHA1 "${part}" one)
  string(APPEND all "${one}")
endforeach()
string(SHA1 hash "${all}")
file(WRITE "${OUTPUT}" "namespace horos::proofs {\nextern const char* const prover_identity;\n"
  "const char* const prover_identity = \"${hash}\";\n}\n")
