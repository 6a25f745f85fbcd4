// A bounded software walk of the guest's page tables (APM vol. 2 §5.2-5.6), for instruction bytes
// and for the memory operands of emulated instructions.
#pragma once

#include "emul/guest_memory.hpp"

namespace horos::vmm {

// The registers that decide about translation.
struct PagingState {
    u64 cr0 = 0, cr3 = 0, cr4 = 0, efer = 0;
    u8 cpl = 0;
    bool ac_flag = false; // RFLAGS.AC, which lifts SMAP
};

enum class Access : u8 { read, write, fetch };

struct Translation {
    enum class Status : u8 {
        ok,
        page_fault, // error_code says why
        not_canonical,
        outside_ram, // a page table is not in the guest's RAM
    };
    Status status = Status::ok;
    u32 error_code = 0; // as pushed by #PF (APM vol. 2 §8.4.2)
    u64 address = 0;    // guest-physical
};

// The entries that a walk in long mode read, so that it can be repeated by comparing them.
struct WalkTrace {
    static constexpr unsigned max_levels = 4; // a walk of five levels is not remembered
    static constexpr u64 no_entry = 0;
    struct Step {
        const u64* place = &no_entry;
        u64 entry = no_entry;
    };
    Step steps[max_levels] = {};
    unsigned count = 0; // of entries read, kept or not
    void add(const u8* place, u64 entry) {
        if (count < max_levels)
            steps[count] = {reinterpret_cast<const u64*>(place), entry};
        ++count;
    }
    bool complete() const { return count <= max_levels; }
    bool unchanged() const {
        const auto same = [](const Step& step) {
            return __atomic_load_n(step.place, __ATOMIC_RELAXED) == step.entry;
        };
        return same(steps[0]) && same(steps[1]) && same(steps[2]) && same(steps[3]);
    }
};

// Translates a linear address. Marks entries accessed and, for a write, dirty, as a processor
// does, unless `mark` is false.
Translation translate(const GuestMemory& memory, const PagingState& paging, u64 linear,
                      Access access, bool mark = true, WalkTrace* trace = nullptr);

} // namespace horos::vmm
