// Code of the guests that do one sensitive thing.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>

namespace horos::fuzz::vmx {

struct Snippet {
    const char* name;
    std::initializer_list<uint8_t> bytes;
    uint64_t msr = 0;                           // RCX
    enum Use : uint8_t { ANY, APIC } use = ANY; // what it is for
};

// RBX points to data, RSI and RDI too; the code runs in every mode unless it says otherwise.
std::span<const Snippet> guest_snippets();

} // namespace horos::fuzz::vmx
