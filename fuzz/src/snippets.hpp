// Short guest programs, each around one instruction that SVM has something to say about. The bytes
// mean the same in every mode: memory operands use ModRM rm=7, which is [rdi], [edi] or [bx], and
// the base cases keep those registers at the data page.
#pragma once

#include "horos/fuzz/case.hpp"
#include "horos/fuzz/random.hpp"

#include <span>
#include <string_view>

namespace horos::fuzz {

enum class Operand : uint8_t {
    None,
    Msr,      // rcx is an MSR number
    Port,     // rdx is a port
    Counter,  // rcx is a performance counter
    Asid,     // rax an address, rcx an ASID
    VmcbPa,   // rax is a VMCB address
    Selector, // rax is a selector
    Stack,    // the stack holds something to pop
    Divide,   // rcx may be zero
    Xcr,      // rcx an XCR number
    Leaf,     // rax, rcx: CPUID leaf
    Word,     // the memory operand is a selector or table pointer
};

struct Snippet {
    std::string_view name;
    std::string_view hex;
    Operand operand = Operand::None;
};

std::span<const Snippet> snippets();
// Puts the program into the case and gives its operands likely values.
void install(Case& c, const Snippet& snippet, Random& random);

} // namespace horos::fuzz
