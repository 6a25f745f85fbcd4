// Instructions that ring 3 must not execute, or that must not have their privileged effect there.
// In ring 0, or with the kernel's control registers set wrongly, each would complete and return.
#include "prober/probe.hpp"

namespace horos::prober {
namespace {

// An instruction without operands, written out so that the assembler need not know it.
template <u8... Bytes>
void raw() {
    static constexpr u8 count = sizeof...(Bytes);
    static_assert(count <= 4);
    constexpr u8 b[4] = {Bytes...};
    if constexpr (count == 1)
        asm volatile(".byte %c0" : : "i"(b[0]) : "memory", "rax", "rcx", "rdx", "rbx");
    if constexpr (count == 2)
        asm volatile(".byte %c0, %c1"
                     :
                     : "i"(b[0]), "i"(b[1])
                     : "memory", "rax", "rcx", "rdx", "rbx");
    if constexpr (count == 3)
        asm volatile("xorl %%eax, %%eax; .byte %c0, %c1, %c2"
                     :
                     : "i"(b[0]), "i"(b[1]), "i"(b[2])
                     : "memory", "rax", "rcx", "rdx", "rbx");
}

struct [[gnu::packed]] TableRegister {
    u16 limit;
    u64 base;
};
TableRegister table_register = {0xffff, 0};

constexpr u64 interrupt_flag = 0x200, iopl_bits = 0x3000, trap_flag = 0x100;
constexpr u64 alignment_flag = 0x4'0000, direction_flag = 0x400;

// POPF does not fault in ring 3; it must leave IF and IOPL alone.
void popf_flags() {
    u64 flags;
    asm volatile("pushfq; popq %0; andq $-513, %0; orq $0x3000, %0; pushq %0; popfq; pushfq; "
                 "popq %0"
                 : "=&r"(flags));
    const bool kept = (flags & interrupt_flag) != 0 && (flags & iopl_bits) == 0;
    kept ? stopped("flags unchanged") : not_stopped("IF or IOPL changed");
}

// The kernel must run its own flags, whatever those of its caller: with AC set it would lose SMAP,
// with DF its string copies would run backwards.
void syscall_with_flags(u64 set) {
    u64 rax = 0; // the call `null`
    asm volatile("pushfq; orq %1, (%%rsp); popfq; syscall; pushfq; andq %2, (%%rsp); popfq"
                 : "+a"(rax)
                 : "r"(set), "r"(~set)
                 : "rcx", "r11", "rdi", "rsi", "rdx", "r8", "r9", "r10", "memory", "cc");
    rax == 0 ? stopped("the call worked as always") : not_stopped("the call went wrong");
}

void far_return_to_ring_0() {
    asm volatile("pushq $8; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:" : : : "rax", "memory");
}

void interrupt_return_to_ring_0() {
    asm volatile("movq %%rsp, %%rax; pushq $16; pushq %%rax; pushfq; pushq $8; "
                 "leaq 1f(%%rip), %%rax; pushq %%rax; iretq; 1:"
                 :
                 :
                 : "rax", "memory");
}

template <u32 Number>
void read_msr() {
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(Number));
}
template <u32 Number>
void write_msr() {
    asm volatile("wrmsr" : : "a"(0), "d"(0), "c"(Number));
}
template <u16 Port>
void port_read() {
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "d"(Port));
}
template <u16 Port>
void port_write() {
    asm volatile("outb %0, %1" : : "a"(u8{0}), "d"(Port));
}

constexpr u16 kernel_data = 16, kernel_stack = 0x10;

constexpr Probe probes[] = {
    {"hlt", raw<0xf4>},
    {"cli", raw<0xfa>},
    {"sti", raw<0xfb>},
    {"clts", raw<0x0f, 0x06>},
    {"invd", raw<0x0f, 0x08>},
    {"wbinvd", raw<0x0f, 0x09>},
    {"sysret", raw<0x48, 0x0f, 0x07>},
    {"swapgs", raw<0x0f, 0x01, 0xf8>},
    {"rsm", raw<0x0f, 0xaa>},
    {"xsetbv", [] { asm volatile("xgetbv; xsetbv"
                                 :
                                 : "c"(0)
                                 : "rax", "rdx"); }},
    {"monitor", raw<0x0f, 0x01, 0xc8>},
    {"mwait", raw<0x0f, 0x01, 0xc9>},
    {"vmrun", raw<0x0f, 0x01, 0xd8>},
    {"vmmcall", raw<0x0f, 0x01, 0xd9>},
    {"vmload", raw<0x0f, 0x01, 0xda>},
    {"vmsave", raw<0x0f, 0x01, 0xdb>},
    {"stgi", raw<0x0f, 0x01, 0xdc>},
    {"clgi", raw<0x0f, 0x01, 0xdd>},
    {"skinit", raw<0x0f, 0x01, 0xde>},
    {"invlpga", raw<0x0f, 0x01, 0xdf>},
    {"vmcall", raw<0x0f, 0x01, 0xc1>},
    {"vmxoff", raw<0x0f, 0x01, 0xc4>},
    {"getsec", raw<0x0f, 0x37>},
    {"icebp", raw<0xf1>},
    {"read-cr0", [] { asm volatile("movq %%cr0, %%rax"
                                   :
                                   :
                                   : "rax"); }},
    {"read-cr2", [] { asm volatile("movq %%cr2, %%rax"
                                   :
                                   :
                                   : "rax"); }},
    {"read-cr3", [] { asm volatile("movq %%cr3, %%rax"
                                   :
                                   :
                                   : "rax"); }},
    {"read-cr4", [] { asm volatile("movq %%cr4, %%rax"
                                   :
                                   :
                                   : "rax"); }},
    {"read-cr8", [] { asm volatile("movq %%cr8, %%rax"
                                   :
                                   :
                                   : "rax"); }},
    {"write-cr0", [] { asm volatile("movq %0, %%cr0"
                                    :
                                    : "r"(u64{0x11})); }},
    {"write-cr3", [] { asm volatile("movq %0, %%cr3"
                                    :
                                    : "r"(u64{0})); }},
    {"write-cr4", [] { asm volatile("movq %0, %%cr4"
                                    :
                                    : "r"(u64{0x20})); }},
    {"write-cr8", [] { asm volatile("movq %0, %%cr8"
                                    :
                                    : "r"(u64{15})); }},
    {"lmsw", [] { asm volatile("lmsw %w0"
                               :
                               : "r"(1)); }},
    {"read-dr7", [] { asm volatile("movq %%dr7, %%rax"
                                   :
                                   :
                                   : "rax"); }},
    {"write-dr0", [] { asm volatile("movq %0, %%dr0"
                                    :
                                    : "r"(u64{0})); }},
    {"write-dr7", [] { asm volatile("movq %0, %%dr7"
                                    :
                                    : "r"(u64{0x400})); }},
    {"lgdt", [] { asm volatile("lgdt %0"
                               :
                               : "m"(table_register)); }},
    {"lidt", [] { asm volatile("lidt %0"
                               :
                               : "m"(table_register)); }},
    {"lldt", [] { asm volatile("lldt %w0"
                               :
                               : "r"(0)); }},
    {"ltr", [] { asm volatile("ltr %w0"
                              :
                              : "r"(0x30)); }},
    // Without UMIP these tell where the kernel's tables are.
    {"sgdt", [] { asm volatile("sgdt %0"
                               : "=m"(table_register)); }, false, true},
    {"sidt", [] { asm volatile("sidt %0"
                               : "=m"(table_register)); }, false, true},
    {"sldt", [] { asm volatile("sldt %%eax"
                               :
                               :
                               : "rax"); }, false, true},
    {"str", [] { asm volatile("str %%eax"
                              :
                              :
                              : "rax"); }, false, true},
    {"smsw", [] { asm volatile("smsw %%eax"
                               :
                               :
                               : "rax"); }, false, true},
    {"invlpg", [] { asm volatile("invlpg (%0)"
                                 :
                                 : "r"(u64{0x40'0000})); }},
    {"invpcid",
     [] {
         u64 descriptor[2] = {};
         asm volatile("invpcid %0, %1" : : "m"(descriptor), "r"(u64{2}));
     }},
    {"rdpmc", [] { asm volatile("rdpmc"
                                :
                                : "c"(0)
                                : "rax", "rdx"); }},
    {"read-efer", read_msr<0xc000'0080>},
    {"read-apic-base", read_msr<0x1b>},
    {"write-efer", write_msr<0xc000'0080>},
    {"write-lstar", write_msr<0xc000'0082>},
    {"write-fs-base", write_msr<0xc000'0100>},
    {"write-vm-hsave", write_msr<0xc001'0117>},
    {"in-keyboard", port_read<0x60>},
    {"in-serial", port_read<0x3f8>},
    {"in-cmos", port_read<0x71>},
    {"in-pci-config", port_read<0xcfc>},
    {"out-serial", port_write<0x3f8>},
    {"out-pic", port_write<0x21>},
    {"out-delay", port_write<0x80>},
    {"string-out",
     [] {
         const u8* bytes = reinterpret_cast<const u8*>("x");
         asm volatile("outsb" : "+S"(bytes) : "d"(u16{0x3f8}));
     }},
    {"int-0x80", [] { asm volatile("int $0x80"); }},
    {"int-timer-vector", [] { asm volatile("int $0xf2"); }},
    {"int-double-fault", [] { asm volatile("int $8"); }},
    {"int-nmi", [] { asm volatile("int $2"); }},
    {"load-kernel-stack-segment", [] { asm volatile("movw %0, %%ss"
                                                    :
                                                    : "r"(kernel_stack)); }},
    {"load-kernel-data-segment", [] { asm volatile("movw %0, %%ds"
                                                   :
                                                   : "r"(kernel_data)); }},
    {"far-return-to-ring-0", far_return_to_ring_0},
    {"interrupt-return-to-ring-0", interrupt_return_to_ring_0},
    {"popf-if-iopl", popf_flags},
    {"syscall-with-ac", [] { syscall_with_flags(alignment_flag); }},
    {"syscall-with-df", [] { syscall_with_flags(direction_flag); }},
    {"syscall-with-tf", [] { syscall_with_flags(trap_flag); }},
    {"runaway-loop",
     [] {
         for (;;) {
             asm volatile("");
         }
     },
     true},
    {"runaway-pause",
     [] {
         for (;;) {
             __builtin_ia32_pause();
         }
     },
     true},
    {"runaway-hypercalls",
     [] {
         for (;;) {
             (void)user::null();
         }
     },
     true},
};

} // namespace

std::span<const Probe> instruction_probes() { return probes; }

} // namespace horos::prober
