// The instructions that this harness uses besides those of both, and its views of memory.
#pragma once

#include "../../harness/cpu.hpp"
#include "../layout.hpp"

namespace horos::fuzz::vmx {

struct [[gnu::packed]] Pointer {
    uint16_t limit;
    uint64_t base;
};

using harness::rdmsr;
using harness::wrmsr;

inline bool vmxon(uint64_t pa) {
    bool failed;
    asm volatile("vmxon %1; setbe %0" : "=qm"(failed) : "m"(pa) : "cc", "memory");
    return !failed;
}
inline bool vmclear(uint64_t pa) {
    bool failed;
    asm volatile("vmclear %1; setbe %0" : "=qm"(failed) : "m"(pa) : "cc", "memory");
    return !failed;
}
inline bool vmptrld(uint64_t pa) {
    bool failed;
    asm volatile("vmptrld %1; setbe %0" : "=qm"(failed) : "m"(pa) : "cc", "memory");
    return !failed;
}
inline bool vmwrite(uint64_t field, uint64_t value) {
    bool failed;
    asm volatile("vmwrite %2, %1; setbe %0" : "=qm"(failed) : "r"(field), "r"(value) : "cc");
    return !failed;
}
inline bool vmread(uint64_t field, uint64_t& value) {
    bool failed;
    asm volatile("vmread %2, %1; setbe %0" : "=qm"(failed), "=r"(value) : "r"(field) : "cc");
    return !failed;
}

inline void invept(uint64_t type, uint64_t eptp) {
    const uint64_t descriptor[2] = {eptp, 0};
    asm volatile("invept %0, %1" ::"m"(descriptor), "r"(type) : "cc", "memory");
}
inline void invvpid(uint64_t type, uint64_t vpid, uint64_t linear) {
    const uint64_t descriptor[2] = {vpid, linear};
    asm volatile("invvpid %0, %1" ::"m"(descriptor), "r"(type) : "cc", "memory");
}

inline Mailbox& mailbox() { return *reinterpret_cast<Mailbox*>(SHARED_PA); }
inline Slot& slot(unsigned n) { return *reinterpret_cast<Slot*>(SHARED_PA + 4096 + n * 4096ull); }
inline uint64_t* qwords(uint64_t pa) { return reinterpret_cast<uint64_t*>(pa); }
inline uint32_t* dwords(uint64_t pa) { return reinterpret_cast<uint32_t*>(pa); }

} // namespace horos::fuzz::vmx
