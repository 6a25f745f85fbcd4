// Guests that are entered twice, with tables that change in between: with and without the
// invalidation that makes the change certain (SDM vol. 3C §28.4.3).
#include "guest_maker.hpp"

#include "horos/defs/vmx/ept.hpp"

namespace horos::fuzz::vmx {

namespace {

constexpr uint64_t REGION = ARENA_PA >> 21 << 21;
constexpr uint64_t EPT_LEAF = 0x330, GUEST_LEAF = 0x67; // memory type and flags; all permitted

uint64_t leaf_place(uint64_t table, uint64_t page) { return table + (page - REGION) / 4096 * 8; }

} // namespace

// Another page, or other permissions, in the entry that maps the data or the code: the one value
// for the first entry, the other for the second.
void Maker::twice_edit() {
    const bool by_ept = one_in(2);
    const bool code = one_in(4);
    const uint64_t page = code ? CODE_PA : DATA_PA, other = code ? HANDLER_PA : SECOND_DATA_PA;
    const uint64_t flags = by_ept ? EPT_LEAF | ept::RWX : GUEST_LEAF;
    const uint64_t place = leaf_place(by_ept ? EPT_PT_PA : GUEST_PT_PA, page);
    uint64_t one = page | flags, two = other | flags;
    if (one_in(3)) { // the same page with less permitted
        two = page | (flags & ~(by_ept ? pick(1, 2, 4, 7) : pick(1, 2, 4, 3)));
    }
    if (one_in(2)) {
        std::swap(one, two);
    }
    Twice& t = test.twice;
    t.edits = 1;
    t.edit[0] = {place, two};
    poke(place, one);
    if (!by_ept && page == DATA_PA) { // what the guest maps there must be writable by EPT
        poke(leaf_place(EPT_PT_PA, SECOND_DATA_PA), SECOND_DATA_PA | EPT_LEAF | ept::RWX);
    }
}

// The context of the first entry: that of the second, or with another tag.
void Maker::twice_context() {
    Twice& t = test.twice;
    const auto first = [&](F field, uint64_t value) {
        if (t.fields < TWICE_FIELDS) {
            t.field[t.fields++] = {encoding(field), value};
        }
    };
    const bool vpid = !one_in(4);
    set(F::PROC_CONTROLS, p.proc, proc::ACTIVATE_SECONDARY, true);
    set(F::PROC_CONTROLS_2, p.proc2, proc2::ENABLE_VPID, vpid);
    s()[F::VPID] = vpid ? 1 + below(2) : 0;
    const bool real = (s()[F::GUEST_CR0] & x86::cr0::PE) == 0;
    if (!real && one_in(3)) { // linear mappings
        set(F::PROC_CONTROLS_2, p.proc2,
            proc2::ENABLE_EPT | proc2::UNRESTRICTED_GUEST | proc2::ENABLE_PML |
                proc2::EPT_VIOLATION_VE | proc2::MODE_BASED_EPT_EXECUTE,
            false);
    }
    const bool by_ept = (s()[F::PROC_CONTROLS_2] & proc2::ENABLE_EPT) != 0;
    if (vpid && one_in(4)) {
        first(F::VPID, 3 - s()[F::VPID]);
    }
    if (by_ept && one_in(6)) {
        first(F::EPTP, OTHER_EPT_PA | (s()[F::EPTP] & 0xfff));
    }
    const bool wide = (s()[F::ENTRY_CONTROLS] & entry_ctl::IA32E_MODE_GUEST) != 0;
    if (wide && one_in(4) && (p.cr4_fixed1 & x86::cr4::PCIDE) != 0) {
        s()[F::GUEST_CR4] |= x86::cr4::PCIDE;
        if (one_in(2)) {
            first(F::GUEST_CR3, GUEST_PML4_PA | 5);
        }
    }
}

void Maker::twice_invalidation() {
    Twice& t = test.twice;
    switch (below(3)) {
    case 0:
        return;
    case 1:
        t.instruction = TWICE_INVEPT;
        t.type = uint32_t(1 + below(2));
        t.operand = (one_in(3) ? OTHER_EPT_PA : EPT_PML4_PA) | (s()[F::EPTP] & 0xfff);
        return;
    default:
        t.instruction = TWICE_INVVPID;
        t.type = uint32_t(below(4));
        t.operand = 1 + below(2);
        t.linear = pick(DATA_PA, DATA_PA + 8, CODE_PA, STACK_PA, HANDLER_PA);
    }
}

void Maker::twice() {
    test.twice = {};
    test.guest.pokes = 0;
    s()[F::GUEST_IDTR_LIMIT] = 0;
    s()[F::GUEST_ACTIVITY] = 0;
    s()[F::GUEST_PENDING_DEBUG] = 0;
    s()[F::ENTRY_INTERRUPTION_INFO] = 0;
    s()[F::GUEST_RFLAGS] &= ~x86::rflags::TF;
    set(F::PROC_CONTROLS, p.proc,
        proc::MONITOR_TRAP_FLAG | proc::NMI_WINDOW_EXITING | proc::INTERRUPT_WINDOW_EXITING |
            proc::USE_TPR_SHADOW,
        false);
    set(F::PROC_CONTROLS_2, p.proc2, proc2::VMCS_SHADOWING, false);
    test.guest.gpr[3] = DATA_PA + below(64) * 8;
    test.guest.gpr[6] = test.guest.gpr[7] = DATA_PA + 0x800;
    test.guest.gpr[2] = below(4); // INVPCID's type
    twice_edit();
    twice_context();
    twice_invalidation();
}

} // namespace horos::fuzz::vmx
