// Guests whose events change to another stack, that are in virtual-8086 mode, or that ask for a
// task switch (SDM vol. 3A §6.12, §6.14, §20.3; vol. 3C §25.4.2).
#include "guest_maker.hpp"
#include "layout.hpp"

namespace horos::fuzz::vmx {

namespace {

// Segments at FFFF0h reach up to 10FFEFh. There the guest's tables put the code and the data.
constexpr uint64_t V86_SELECTOR = 0xffff, V86_BASE = V86_SELECTOR << 4;
constexpr uint64_t V86_CODE = 0x104000, V86_DATA = 0x105000;

} // namespace

void Maker::virtual_8086() {
    for (unsigned n = 0; n < 6; ++n) {
        s()[plus(F::GUEST_ES_SELECTOR, n)] = V86_SELECTOR;
        s()[plus(F::GUEST_ES_BASE, n)] = V86_BASE;
        s()[plus(F::GUEST_ES_LIMIT, n)] = 0xffff;
        s()[plus(F::GUEST_ES_RIGHTS, n)] = 0xf3;
    }
    s()[F::GUEST_RFLAGS] |= x86::rflags::VM | (one_in(2) ? x86::rflags::IOPL : 0);
    // The first two mebibytes are those of the arena; two of their pages are ours.
    poke(GUEST_PD_PA, GUEST_PT_PA | 0x27);
    poke(GUEST_PT_PA + (V86_CODE >> 12) * 8, CODE_PA | 0x67);
    poke(GUEST_PT_PA + (V86_DATA >> 12) * 8, DATA_PA | 0x67);
}

void Maker::virtual_8086_registers() {
    auto& g = test.guest;
    g.gpr[3] = V86_DATA - V86_BASE + below(2) * 16;
    g.gpr[6] = g.gpr[7] = V86_DATA - V86_BASE + 32;
    s()[F::GUEST_RSP] = V86_DATA - V86_BASE + (STACK_PA & 0xfff);
    s()[F::GUEST_RIP] = V86_CODE - V86_BASE;
}

// A TSS of the mode, with stacks for the inner levels; now and then one thing is wrong with it.
void Maker::task_state() {
    const bool wide = (s()[F::ENTRY_CONTROLS] & entry_ctl::IA32E_MODE_GUEST) != 0;
    const bool narrow = !wide && one_in(6);
    const uint64_t at = wide ? TSS_PA : narrow ? TSS16_PA : TSS32_PA;
    s()[F::GUEST_TR_BASE] = at;
    s()[F::GUEST_TR_RIGHTS] = narrow ? 0x83 : 0x8b;
    s()[F::GUEST_TR_SELECTOR] = 0x18;
    s()[F::GUEST_TR_LIMIT] = one_in(6) ? pick(0, 3, 5, 9, 0xb, 0x2b, 0x66, 0x2ff) : 0x2ff;
    if (wide && one_in(4)) { // a stack that is not canonical, not aligned, or not mapped
        const uint64_t stack = pick(0x0000800000000008ull, STACK_PA + 4, 0x0000700000000000ull, 8);
        poke(at, stack << 32);
        poke(at + 8, stack << 32 | stack >> 32);
    } else if (!wide && !narrow && one_in(3)) { // SS0
        const uint64_t ss = one_in(2) ? pick(0, 0x11, 0x18, 0x20, selector::DATA1, 0x1f8, 0x14)
                                      : 0x10 ^ 1ull << below(16);
        poke(at + 8, STACK_PA << 32 | ss);
    }
    if (one_in(8)) {
        const uint64_t place = pick(0x08, 0x10, 0x18, selector::CODE1, selector::CODE1_LONG,
                                    selector::DATA1, selector::TSS32, selector::GATE);
        const uint64_t usual = place == 0x08   ? 0x00af9b000000ffffull
                               : place == 0x10 ? 0x00cf93000000ffffull
                                               : 0x00cf9b000000ffffull;
        poke(DESCRIPTORS_PA + place, usual ^ 1ull << below(64));
    }
    if (one_in(4)) { // the task's I/O map
        poke(at + 0x60, pick(0x80, 0x7f, 0x200, 0x2fe, 0xffff) << 48);
        poke(at + 0x80 + (test.guest.gpr[2] >> 6 & 15) * 8, random());
    }
}

// Code that goes to another task, by a selector, a gate, NT or an event.
void Maker::task_target(uint64_t gates) {
    const bool wide = gates == DESCRIPTORS_PA + 0x400;
    const uint64_t target =
        one_in(8) ? below(0x10000)
                  : pick(selector::TSS32, selector::TSS32, selector::TSS16, selector::GATE,
                         selector::GATE, selector::BUSY_TSS, 0x08, 0x10, 0) |
                        (one_in(3) ? below(8) : 0);
    const uint64_t operand = test.guest.gpr[3] & ~7ull;
    const bool v86 = (s()[F::GUEST_RFLAGS] & x86::rflags::VM) != 0;
    if (!v86 && operand >> 12 == DATA_PA >> 12) {
        poke(operand, target << 32 | HANDLER_PA); // m16:32
    }
    if (one_in(4)) {
        poke(DESCRIPTORS_PA + selector::TSS32,
             system_descriptor(TSS32_PA, pick(0x67, 0x66, 0x2b), 0x89) ^ 1ull << (40 + below(8)));
    }
    if (one_in(4)) {
        poke(DESCRIPTORS_PA + selector::GATE,
             (target << 16 | 0xe5ull << 40) ^ (one_in(2) ? 1ull << (40 + below(8)) : 0));
    }
    if (one_in(2)) {
        const uint64_t link = pick(selector::BUSY_TSS, selector::BUSY_TSS, selector::TSS32, target);
        poke(TSS32_PA, STACK_PA << 32 | link);
    }
    if (!wide) {
        for (const uint64_t vector : {0u, 1u, 3u, 6u, 13u, 14u, 32u}) { // task gates
            if (vector < 32 && one_in(3)) {
                poke(gates + vector * 8, target << 16 | (one_in(4) ? 0x85ull : 0xe5ull) << 40);
            }
        }
    }
}

void Maker::tasks(const Snippet& snippet) {
    const bool real = (s()[F::GUEST_CR0] & x86::cr0::PE) == 0;
    const bool wide = (s()[F::ENTRY_CONTROLS] & entry_ctl::IA32E_MODE_GUEST) != 0;
    const bool wanted = snippet.use == Snippet::TASK;
    if (real || (!wanted && one_in(3))) {
        return;
    }
    task_state();
    const uint64_t gates = wide ? DESCRIPTORS_PA + 0x400 : GATES32_PA;
    if (wanted) {
        s()[F::GUEST_IDTR_BASE] = gates;
        s()[F::GUEST_IDTR_LIMIT] = wide ? 0x1ff : 0xff;
        s()[F::GUEST_GDTR_BASE] = DESCRIPTORS_PA;
        s()[F::GUEST_GDTR_LIMIT] = one_in(8) ? 0x27 : selector::GDT_LIMIT;
        s()[F::EXCEPTION_BITMAP] = one_in(2) ? 0 : random() & 0xffffffff;
        s()[F::GUEST_RFLAGS] |= one_in(2) ? x86::rflags::NT : 0;
        const bool switches = one_in(2);
        if (switches) {
            task_target(gates);
        } else {
            const uint64_t vector = pick(0, 1, 3, 6, 13, 14, 8);
            const uint64_t handler = HANDLER_PA + vector * 16;
            const uint64_t code = one_in(3) ? (wide ? selector::CODE1_LONG : selector::CODE1)
                                  : wide    ? 0x08
                                            : 0x18;
            const uint64_t dpl = one_in(2) ? 3 : 0, ist = wide && one_in(2) ? below(8) : 0;
            poke(gates + vector * (wide ? 16 : 8),
                 (handler & 0xffff) | code << 16 | ist << 32 |
                     (pick(0x8e, 0x8e, 0x8f, 0x86) | dpl << 5) << 40 | (handler >> 16) << 48);
        }
    }
}

} // namespace horos::fuzz::vmx
