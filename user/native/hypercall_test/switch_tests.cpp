// What a thread keeps when calls hand the processor back and forth, whatever its partner does to
// the registers that the kernel does not save one by one: FS, and the FPU's.
#include "native/hypercall_test/check.hpp"

namespace horos::hypercall_test {
namespace {

constexpr u64 stack = scratch_address + 0x120'0000; // the helper's

// What FS leads to: its own address, as every native program has it.
u64 thread_pointer() {
    u64 word;
    asm volatile("movq %%fs:0, %0" : "=r"(word));
    return word;
}

enum class Fpu : u64 { idle, used }; // a used one is exchanged by another way through the kernel

// Answers with what FS leads to, and leaves a null selector in FS and, if asked, its own in the
// FPU.
[[noreturn]] void serve() {
    auto call = user::receive(fixture::endpoint);
    for (;;) {
        const u64 pointer = thread_pointer();
        if (call.w0 == static_cast<u64>(Fpu::used))
            asm volatile("pcmpeqd %%xmm0, %%xmm0" ::: "memory");
        asm volatile("movl %0, %%fs" ::"r"(0));
        const auto next = user::reply_receive(fixture::endpoint, pointer, 0, 0, 0);
        call = {next.error, next.badge, next.w0, next.w1, next.w2, next.w3};
    }
}

struct Answer {
    Error error;
    u64 pointer;
    bool kept; // every register that a call keeps
};

// One call with marked registers and with FS's base lost.
Answer call_marked(Fpu fpu) {
    register u64 rbx asm("rbx") = 0xb1, r12 asm("r12") = 0xb2, r13 asm("r13") = 0xb3,
                     r14 asm("r14") = 0xb4, r15 asm("r15") = 0xb5;
    register u64 r10 asm("r10") = 3, r8 asm("r8") = 4, r9 asm("r9") = 0;
    u64 rax = static_cast<u64>(abi::Call::call), rdi = fixture::endpoint,
        rsi = static_cast<u64>(fpu), rdx = 2;
    const u64 mark = 0x1234'5678'9abc'def0;
    u64 xmm = mark;
    if (fpu == Fpu::used)
        asm volatile("movq %0, %%xmm0" ::"m"(xmm));
    asm volatile("xorl %%ecx, %%ecx\n\t"
                 "movl %%ecx, %%fs\n\t"
                 "syscall"
                 : "+a"(rax), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r10), "+r"(r8), "+r"(r9),
                   "+r"(rbx), "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15)
                 :
                 : "rcx", "r11", "cc", "memory");
    if (fpu == Fpu::used)
        asm volatile("movq %%xmm0, %0" : "=m"(xmm));
    const bool kept = rbx == 0xb1 && r12 == 0xb2 && r13 == 0xb3 && r14 == 0xb4 && r15 == 0xb5;
    return {static_cast<Error>(rax), rdx, kept && xmm == mark};
}

} // namespace

void test_switches() {
    own_memory().page(stack);
    // The same FS base as ours, so that the kernel could take it for loaded.
    expect("thread_start partner",
           user::thread_start(fixture::helper, reinterpret_cast<u64>(&serve),
                              stack + abi::frame_size - 8, 0, abi::thread_fs_base(0)));
    const u64 pointer = abi::thread_fs_base(0);
    for (const Fpu fpu : {Fpu::idle, Fpu::idle, Fpu::used, Fpu::used, Fpu::idle, Fpu::idle}) {
        const Answer answer = call_marked(fpu);
        expect("call with FS lost", answer.error, Error::ok);
        expect_value("the partner's FS base", answer.pointer, pointer);
        expect_value("registers kept by a call", answer.kept ? 1 : 0, 1);
        expect_value("our own FS base", thread_pointer(), pointer);
    }
    expect("thread_stop partner", user::thread_stop(fixture::helper));
}

} // namespace horos::hypercall_test
