// A hypercall by number, with any register values.
#pragma once
#include <horos/rt/calls.hpp>

namespace horos::native {

// What came back; `values` in the order rdx rdi rsi r8 r9 r10.
struct RawResult {
    rt::Error error;
    rt::u64 values[6];
};

inline RawResult raw_call_values(rt::u64 number, const rt::u64 (&arguments)[6]) {
    rt::u64 rax = number, rdi = arguments[0], rsi = arguments[1], rdx = arguments[2];
    register rt::u64 r10 asm("r10") = arguments[3];
    register rt::u64 r8 asm("r8") = arguments[4];
    register rt::u64 r9 asm("r9") = arguments[5];
    asm volatile("syscall"
                 : "+a"(rax), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r10), "+r"(r8), "+r"(r9)
                 :
                 : "rcx", "r11", "cc", "memory");
    return {static_cast<rt::Error>(rax), {rdx, rdi, rsi, r8, r9, r10}};
}

inline rt::Error raw_call(rt::u64 number, const rt::u64 (&arguments)[6]) {
    return raw_call_values(number, arguments).error;
}

} // namespace horos::native
