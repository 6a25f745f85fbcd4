// What a VMM may ask for: mostly sensible changes, now and then one that the guard must refuse.
#include "kernel/svm/svm.hpp"
#include "step.hpp"

namespace horos::test {

static void draw_control(Draw& d, VcpuState& s) {
    const u64 cr0[] = {0x10, 0x11, 0x8000'0011, 0x6000'0010, 0x2000'0010, 0x8000'0001'8000'0011};
    const u64 efer[] = {0, 0x100, 0x500, 0x901, 0x1000, 0x2000};
    const u64 cr4[] = {0, 0x20, 0x620, 0x20, 0xffff'0000'0000};
    const u64 cr3[] = {0, 0x1000, 0x7f'ffff'f000, u64{1} << 63};
    s.cr0 = cr0[d.below(6)];
    s.efer = efer[d.below(6)];
    s.cr4 = cr4[d.below(5)];
    s.cr3 = cr3[d.below(4)];
    s.cr2 = d.word();
}

void draw_state_page(Draw& d, Frame vcpu) {
    VcpuState& s = state_pages[vcpus[vcpu].state].state;
    s.rip = d.word();
    s.rflags = d.word();
    s.deadline = d.one_in(2) ? no_deadline : shell.now + d.below(4'000);
    s.inject = d.one_in(4) ? d.word() | svm::event::VALID : 0;
    s.requests = d.below(4);
    s.pending_interrupt = d.one_in(2) ? 0x100 | d.below(256) : 0;
    s.tpr = d.below(32);
    s.wanted = d.below(group::all + 1);
    s.dirty = d.one_in(2) ? 0 : d.below(group::all + 1);
    s.interrupt_shadow = d.below(4);
    draw_control(d, s);
    s.cs.attributes = static_cast<u16>(d.word());
    s.dr6 = d.one_in(8) ? d.word() : 0xffff'0ff0;
    s.dr7 = d.one_in(8) ? d.word() : 0x400;
    s.pat = d.one_in(8) ? d.word() : x86::PAT_RESET;
    const u64 xcr0[] = {1, 3, 7, 0, 5, 9};
    s.xcr0 = xcr0[d.below(d.one_in(2) ? 3 : 6)];
    s.exception_exits = static_cast<u32>(d.word());
    s.extra_exits = d.one_in(8) ? static_cast<u32>(d.word()) : d.below(512);
    s.tsc_offset = d.word();
}

} // namespace horos::test
