#include "native/support/small_guest.hpp"

#include <horos/rt/report.hpp>
#include <horos/rt/time.hpp>

namespace horos::native {
namespace {

constexpr u8 read_write = abi::right::read | abi::right::write;
constexpr u8 all_access = read_write | abi::right::exec;

constexpr u16 code_segment = 0xc9b; // G, D, present, ring 0, execute-read, accessed
constexpr u16 data_segment = 0xc93; // G, B, present, ring 0, read-write, accessed
constexpr u16 task_segment = 0x08b; // present, busy 32-bit TSS

} // namespace

void SmallGuest::create(OwnMemory& memory, u32 slot, u64 window) {
    slot_ = slot;
    memory_ = reinterpret_cast<u8*>(window);
    const u32 space = memory.take(), root = memory.take();
    rt::require(user::space_create(space, root, slot, static_cast<u8>(abi::SpaceKind::guest)).ok(),
                "cannot create a guest space");
    for (u64 at = 0; at < end_address; at += abi::frame_size) {
        const u32 frame = memory.page(window + at);
        const u8 rights = at == read_only_address ? abi::right::read : all_access;
        rt::require(memory.map(at, frame, rights, slot) == Error::ok, "cannot map guest memory");
    }
    const u64 state_address = window + 0x10'0000;
    const u32 state = memory.page(state_address);
    page_ = reinterpret_cast<abi::VcpuPage*>(state_address);
    const u32 frames = memory.take(3);
    rt::require(user::vcpu_create(frames, slot + 1, slot, frames + 1, frames + 2, state).ok(),
                "cannot create a virtual CPU");
    reset();
}

void SmallGuest::load(const u8* begin, const u8* end) {
    for (u64 i = 0; i < abi::frame_size; ++i) {
        memory_[code_address + i] = begin + i < end ? begin[i] : 0xf4; // HLT
    }
}

void SmallGuest::reset() {
    abi::VcpuState& s = state();
    __builtin_memset(page_, 0, sizeof *page_);
    s.rip = code_address;
    s.rflags = 2;
    s.gpr[static_cast<u32>(abi::Gpr::rsp)] = data_address + 0x1000;
    s.deadline = abi::no_deadline;
    s.dirty = abi::group::all;
    s.cr0 = 0x11; // PE, ET
    s.cs = {8, code_segment, 0xffff'ffff, 0};
    s.ss = s.ds = s.es = s.fs = s.gs = {16, data_segment, 0xffff'ffff, 0};
    s.tr = {24, task_segment, 0x67, data_address};
    s.dr6 = 0xffff'0ff0;
    s.dr7 = 0x400;
    s.pat = 0x0007'0406'0007'0406;
    s.xcr0 = 1;
}

SmallGuest::Exit SmallGuest::run(u64 ms) {
    state().deadline = rt::now() + rt::ticks_of_ms(ms, rt::start_page().tsc_khz);
    state().dirty |= abi::group::events;
    const auto result = user::vcpu_run(vcpu());
    return {result.error, static_cast<abi::ExitReason>(result.exit_reason)};
}

} // namespace horos::native
