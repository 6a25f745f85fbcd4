// Code of the guests that do one sensitive thing.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

namespace horos::fuzz::vmx {

struct Snippet {
    const char* name;
    std::initializer_list<uint8_t> bytes;
    uint64_t msr = 0;                                        // RCX
    enum Use : uint8_t { ANY, APIC, TWICE, TASK } use = ANY; // what it is for
};

// RBX points to data, RSI and RDI too; the code runs in every mode unless it says otherwise.
std::span<const Snippet> guest_snippets();
// Whether it may access a port. RDX must then be one that stands for nothing: an access that does
// not exit shall not start a device, nor let one interrupt the guests after it.
bool uses_port(const Snippet& snippet);

} // namespace horos::fuzz::vmx
