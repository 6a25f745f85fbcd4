// The kernel lock: held by a core while it works on kernel state, never while ring 3 or a guest
// runs. entry.S takes it the same way.
#pragma once
#include "types.hpp"

namespace horos::arch {

extern "C" [[gnu::visibility("hidden")]] u32 kernel_lock_word; // at a known distance
extern "C" void kernel_lock_wait();

inline void kernel_lock() {
    asm volatile("lock btsl $0, kernel_lock_word\n\t"
                 "jnc 1f\n\t"
                 "call kernel_lock_wait\n"
                 "1:" ::
                     : "memory", "r11", "cc");
}
inline void kernel_unlock() { __atomic_store_n(&kernel_lock_word, 0u, __ATOMIC_RELEASE); }

} // namespace horos::arch
