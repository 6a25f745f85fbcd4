# Turns iasl's AML into a C++ array: cmake -DAML=dsdt.aml -DOUT=dsdt.cpp -P embed_dsdt.cmake
file(READ ${AML} bytes HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
file(WRITE ${OUT} "// Made from dsdt.asl by iasl.
#include <span>
#include \"base.hpp\"
namespace horos::vmm {
static const u8 table[] = {${bytes}};
extern const std::span<const u8> dsdt_table;
constinit const std::span<const u8> dsdt_table{table};
}
")
