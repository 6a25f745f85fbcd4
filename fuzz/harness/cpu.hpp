// The privileged instructions that the harness uses, one inline function each.
#pragma once

#include <cstdint>

namespace horos::harness {

inline void outb(uint16_t port, uint8_t value) {
    asm volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}
inline void outl(uint16_t port, uint32_t value) {
    asm volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}
inline uint8_t inb(uint16_t port) {
    uint8_t value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
inline uint64_t rdmsr(uint32_t msr) {
    uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return uint64_t{high} << 32 | low;
}
inline void wrmsr(uint32_t msr, uint64_t value) {
    asm volatile("wrmsr" ::"c"(msr), "a"(uint32_t(value)), "d"(uint32_t(value >> 32)));
}

#define HOROS_READ_REG(name)                                                                       \
    inline uint64_t read_##name() {                                                                \
        uint64_t value;                                                                            \
        asm volatile("mov %%" #name ", %0" : "=r"(value));                                         \
        return value;                                                                              \
    }
HOROS_READ_REG(cr0)
HOROS_READ_REG(cr2)
HOROS_READ_REG(cr3)
HOROS_READ_REG(cr4)
HOROS_READ_REG(cr8)
HOROS_READ_REG(dr0)
HOROS_READ_REG(dr1)
HOROS_READ_REG(dr2)
HOROS_READ_REG(dr3)
HOROS_READ_REG(dr6)
HOROS_READ_REG(dr7)
#undef HOROS_READ_REG

inline void write_dr(unsigned index, uint64_t value) {
    switch (index) {
    case 0:
        asm volatile("mov %0, %%dr0" ::"r"(value));
        break;
    case 1:
        asm volatile("mov %0, %%dr1" ::"r"(value));
        break;
    case 2:
        asm volatile("mov %0, %%dr2" ::"r"(value));
        break;
    case 3:
        asm volatile("mov %0, %%dr3" ::"r"(value));
        break;
    case 6:
        asm volatile("mov %0, %%dr6" ::"r"(value));
        break;
    default:
        asm volatile("mov %0, %%dr7" ::"r"(value));
        break;
    }
}

inline void copy_qwords(void* to, const void* from, uint64_t count) {
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count)::"memory");
}

inline void vmload(uint64_t pa) { asm volatile("vmload %0" ::"a"(pa) : "memory"); }
inline void vmsave(uint64_t pa) { asm volatile("vmsave %0" ::"a"(pa) : "memory"); }
inline void iret_to_next() {
    asm volatile("mov %%rsp, %%rax\n\t"
                 "pushq $0x10\n\t"
                 "pushq %%rax\n\t"
                 "pushfq\n\t"
                 "pushq $0x08\n\t"
                 "lea 1f(%%rip), %%rax\n\t"
                 "pushq %%rax\n\t"
                 "iretq\n"
                 "1:" ::
                     : "rax", "memory", "cc");
}
inline void stgi() { asm volatile("stgi" ::: "memory"); }
inline void clgi() { asm volatile("clgi" ::: "memory"); }

} // namespace horos::harness
