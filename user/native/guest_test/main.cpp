// What a virtual CPU must do on each vendor's processor alike: events go in when the guest can take
// them and come back when their delivery was cut off; windows; the guest's own registers, and what
// it sees of those that the host owns. Prints each check that fails, and at the end
// `guests: N passed, M failed`. Needs memory = "8 MiB".
#include <horos/rt/print.hpp>
#include <horos/rt/report.hpp>

#include "native/support/small_guest.hpp"

extern "C" {
extern const unsigned char guest_begin[], guest_end[], guest_idle[], guest_sti[], guest_control[],
    guest_msrs[], guest_debug[], guest_handler_2[], guest_handler_6[], guest_handler_13[],
    guest_handler_81[], guest_handler_82[], guest_handler_83[], guest_x2apic[], guest_apic[],
    guest_block[], guest_apic_tpr[];
}

namespace horos::guest_test {
namespace {

using abi::ExitReason;
using native::SmallGuest;
using rt::Error;
using rt::u32;
using rt::u64;
using rt::u8;

namespace event = abi::event;

constexpr u64 patience_ms = 20'000; // a busy host takes processors away for seconds
constexpr u64 interrupts_on = 0x202, interrupts_off = 2;
constexpr u32 descriptors = 0x2800, gates = 0x3000, nowhere = 0x6000; // guest-physical
constexpr u32 apic_address = 0x7000;
constexpr u32 vector = 81; // an external interrupt of priority 5
constexpr u64 external = event::valid | vector;

constinit u32 passed = 0, failed = 0;

// What the kernel says runs guests here is what CPUID leaf 0 says of the processor.
bool is_intel() {
    u32 a = 0, b, c, d;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
    return b == 0x756e'6547; // "Genu"
}

void expect(std::string_view what, u64 actual, u64 expected) {
    ++(actual == expected ? passed : failed);
    if (actual != expected) {
        rt::print("FAILED {}: {:x} instead of {:x}\n", what, actual, expected);
    }
}

SmallGuest guest;
abi::VcpuState& state() { return guest.state(); }
u64 gpr(abi::Gpr r) { return state().gpr[static_cast<u32>(r)] & 0xffff'ffff; }

u32 address_of(const u8* part) {
    return static_cast<u32>(SmallGuest::code_address + static_cast<u64>(part - guest_begin));
}

template <class T>
void put(u64 address, T value) {
    __builtin_memcpy(guest.memory() + address, &value, sizeof value);
}
u32 word_at(u64 address) {
    u32 word;
    __builtin_memcpy(&word, guest.memory() + address, sizeof word);
    return word;
}

void set_gate(u32 number, const u8* handler) {
    const u64 target = address_of(handler);
    put(gates + 8 * number, (target & 0xffff) | u64{8} << 16 | u64{0x8e00} << 32); // below 64 KiB
}

void make_tables() {
    put(descriptors + 8, u64{0x00cf'9b00'0000'ffff});
    put(descriptors + 16, u64{0x00cf'9300'0000'ffff});
    set_gate(2, guest_handler_2);
    set_gate(6, guest_handler_6);
    set_gate(13, guest_handler_13);
    set_gate(vector, guest_handler_81);
    set_gate(82, guest_handler_82);
    set_gate(83, guest_handler_83);
}

// A fresh start at `part`.
void start(const u8* part, u64 rflags) {
    guest.reset();
    state().rip = address_of(part);
    state().rflags = rflags;
    state().gdtr = {0, 0, 23, descriptors};
    state().idtr = {0, 0, 8 * 128 - 1, gates};
}

void run(std::string_view what, ExitReason expected, u64 ms = patience_ms) {
    const SmallGuest::Exit exit = guest.run(ms);
    expect(what, static_cast<u64>(exit.error), static_cast<u64>(Error::ok));
    expect(what, static_cast<u64>(exit.reason), static_cast<u64>(expected));
}

// The guest's handler of `number` has run.
void run_to_handler(std::string_view what, u32 number) {
    run(what, ExitReason::io);
    expect(what, state().info[0] >> abi::io_access::port_shift & 0xffff, number);
}

void inject(std::string_view what, u64 e, u32 number, u64 rflags) {
    start(guest_idle, rflags);
    state().inject = e;
    run_to_handler(what, number);
    expect(what, state().inject, 0);
    expect(what, state().interrupted_event, 0);
}

// Which ring 3 may not read where the processor has UMIP (CPUID 7, ECX bit 2).
u32 descriptor_table_limit() {
    u32 a = 7, b, c = 0, d;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    struct [[gnu::packed]] {
        rt::u16 limit;
        u64 base;
    } table{};
    if ((c & 4) == 0)
        asm volatile("sgdt %0" : "=m"(table));
    return table.limit;
}

// An exit of VMX sets the limit of the host's descriptor table to 64 KiB (SDM vol. 3C §27.5.2):
// what lies behind the table is not for ring 3 to see. `before` is of the time before the first
// run.
void test_host_tables(u32 before) {
    expect("the host's descriptor table is as long as before", descriptor_table_limit(), before);
}

// The page that FS points into begins with its own address. An exit that goes straight to its
// monitor: a switch between threads would load FS anew.
void test_own_fs() {
    u64 base;
    start(guest_control, interrupts_off);
    run_to_handler("an exit before FS is used", 0x70);
    asm volatile("mov %%fs:0, %0" : "=r"(base));
    expect("FS base after an exit", base, abi::thread_fs_base(0));
}

void test_vendor(const abi::StartPage& page) {
    const abi::Vendor expected = is_intel() ? abi::Vendor::vmx : abi::Vendor::svm;
    expect("vendor", static_cast<u64>(page.vendor), static_cast<u64>(expected));
}

void test_injection() {
    inject("external interrupt", external, vector, interrupts_on);
    inject("exception", event::valid | event::exception << event::type_shift | 6, 6,
           interrupts_off);
    inject("exception with error code",
           event::valid | event::exception << event::type_shift | event::has_error_code | 13 |
               u64{0x1230} << event::error_code_shift,
           13, interrupts_off);
    expect("the error code on the stack", word_at(gpr(abi::Gpr::rsp)), 0x1230);
    inject("NMI", event::valid | event::nmi << event::type_shift | 2, 2, interrupts_off);
}

// After an NMI the next one has to wait for IRET.
void test_nmi_window() {
    inject("NMI before its window", event::valid | event::nmi << event::type_shift | 2, 2,
           interrupts_off);
    state().rip = state().next_rip; // past OUT
    state().requests = abi::request::nmi_window;
    state().dirty = abi::group::events;
    run("NMI window", ExitReason::nmi_window);
}

void test_window() {
    start(guest_sti, interrupts_off);
    state().requests = abi::request::window;
    run("interrupt window", ExitReason::window);
    expect("IF in the window", state().rflags & 0x200, 0x200);
    expect("no shadow in the window", state().interrupt_shadow, 0);
}

void test_pending() {
    start(guest_sti, interrupts_off);
    state().pending_interrupt = abi::pending::valid | vector;
    run_to_handler("pending interrupt", vector);
    expect("pending interrupt delivered", state().pending_interrupt, 0);

    start(guest_idle, interrupts_on);
    state().pending_interrupt = abi::pending::valid | vector;
    state().tpr = 7;
    run("pending interrupt below TPR", ExitReason::deadline, 20);
    expect("pending interrupt kept", state().pending_interrupt, abi::pending::valid | vector);
    state().tpr = 4;
    state().dirty = abi::group::events;
    run_to_handler("pending interrupt above TPR", vector);
}

// The interrupt table lies where no memory is: delivery is cut off, the event comes back, and goes
// in once the table is there.
void test_replay() {
    start(guest_idle, interrupts_on);
    state().idtr.base = nowhere;
    state().inject = external;
    run("delivery cut off", ExitReason::memory);
    expect("address of the gate", state().info[0], nowhere + 8 * vector);
    expect("the event comes back", state().interrupted_event, external);
    state().inject = state().interrupted_event;
    state().idtr = {0, 0, 8 * 128 - 1, gates};
    state().gdtr = {0, 0, 23, descriptors};
    state().dirty = abi::group::events;
    state().wanted = abi::group::segments;
    run("still cut off: segments were not offered", ExitReason::memory);
    expect("the event comes back again", state().interrupted_event, external);
    expect("segments are stored on request", state().idtr.base, nowhere);
    state().idtr.base = gates;
    state().inject = state().interrupted_event;
    state().dirty = abi::group::events | abi::group::segments;
    run_to_handler("delivered after the replay", vector);
}

void test_control_registers() {
    start(guest_control, interrupts_off);
    state().cr0 = 0x6000'0011; // CD, NW, ET, PE: as after RESET
    run_to_handler("control registers", 0x70);
    expect("CR0 as it was set", gpr(abi::Gpr::rax), 0x6000'0011);
    expect("CR4 without the host's bits", gpr(abi::Gpr::rbx), 0);
    expect("CR0 after a change", gpr(abi::Gpr::rcx), 0x6000'0019);
    expect("CR4 after a change", gpr(abi::Gpr::rdx), 0x10);
}

void test_msrs() {
    start(guest_msrs, interrupts_off);
    state().lstar = 0x1111'2222;
    state().star = 0x0023'0010'0000'0000;
    state().kernel_gs_base = 0x7777'0000;
    state().pat = 0x0000'0000'0706'0504;
    state().wanted = abi::group::system;
    run_to_handler("MSRs", 0x71);
    expect("LSTAR loaded", gpr(abi::Gpr::rbx), 0x1111'2222);
    expect("LSTAR stored", state().lstar, 0x1234'1234'5678);
    if (gpr(abi::Gpr::rsi) == 0x0007'0406) { // QEMU 7.2 ignores G_PAT (APM vol. 2 §15.25.4)
        rt::print("PAT left out: this processor does not switch it\n");
    } else {
        expect("PAT loaded", gpr(abi::Gpr::rsi), 0x0706'0504);
        expect("PAT stored", state().pat, 0x0606'0606'0606'0606);
    }
    expect("STAR kept", state().star, 0x0023'0010'0000'0000);
    expect("KERNEL_GS_BASE kept", state().kernel_gs_base, 0x7777'0000);
    start(guest_debug, interrupts_off);
    state().wanted = abi::group::debug;
    run_to_handler("debug registers", 0x72);
    expect("DR0 read back", gpr(abi::Gpr::rbx), 0x1234);
    expect("DR0 stored", state().dr[0], 0x1234);
}

namespace apic {
constexpr u32 id = 0x20, task_priority = 0x80, eoi = 0xb0, spurious = 0xf0, current_count = 0x390;
constexpr u32 in_service = 0x100, requested = 0x200; // 32 vectors every 16 bytes
constexpr u32 word_of(u32 number) { return number / 32 * 16; }
} // namespace apic

// A start with the interrupt `number` requested in the virtual APIC.
void start_with_apic(const u8* part, u32 way, u32 number) {
    start(part, interrupts_off);
    state().virtual_apic = way;
    guest.apic(apic::id) = 0x1234'5678;
    guest.apic(apic::requested + apic::word_of(number)) = 1u << number % 32;
    state().interrupt_status = number;
}

// No instruction of all this exits before the guest says so by its port.
void expect_served(std::string_view what, u32 port, u32 number, u32 interrupts) {
    run_to_handler(what, port);
    expect(what, gpr(abi::Gpr::rbx), 0x1234'5678);
    expect(what, gpr(abi::Gpr::rsi), guest.apic(apic::task_priority));
    expect(what, gpr(abi::Gpr::rdi), interrupts);
    expect(what, state().tpr, guest.apic(apic::task_priority) >> 4);
    expect(what, guest.apic(apic::requested + apic::word_of(number)), 0);
    expect(what, guest.apic(apic::in_service + apic::word_of(number)), 0);
}

void test_virtual_x2apic() {
    start(guest_x2apic, interrupts_off);
    run("x2APIC without a virtual one", ExitReason::rdmsr);
    start_with_apic(guest_x2apic, abi::virtual_apic::x2apic, 82);
    expect_served("virtual x2APIC", 0x73, 82, 2);
    state().rip = state().next_rip;
    run("ICR written", ExitReason::wrmsr);

    start_with_apic(guest_x2apic, abi::virtual_apic::x2apic, 82);
    state().eoi_exits[82 / 64] = u64{1} << 82 % 64;
    run("EOI that was asked for", ExitReason::eoi);
    expect("its vector", state().info[0], 82);
    expect("it has ended", guest.apic(apic::in_service + apic::word_of(82)), 0);

    // Below the task priority that the guest sets, the interrupt waits.
    start_with_apic(guest_x2apic, abi::virtual_apic::x2apic, 0x1f);
    run_to_handler("virtual interrupt below TPR", 0x73);
    expect("virtual interrupt below TPR", gpr(abi::Gpr::rdi), 1); // SELF IPI's
    expect("it waits", guest.apic(apic::requested), 1u << 0x1f);

    start(guest_x2apic, interrupts_off);
    run("x2APIC without a virtual one again", ExitReason::rdmsr);
}

void test_virtual_apic_in_memory(u32 page) {
    start_with_apic(guest_apic, abi::virtual_apic::memory, 83);
    state().apic_page = page;
    expect_served("virtual APIC", 0x74, 83, 1);
    state().rip = state().next_rip;
    run("register with an effect", ExitReason::apic_write);
    expect("its offset", state().info[0], apic::spurious);
    expect("its value", guest.apic(apic::spurious), 0x1ff);
    run("register that is not kept", ExitReason::apic_access);
    expect("its offset and the access", state().info[0], apic::current_count);

    state().virtual_apic = abi::virtual_apic::none; // an ordinary page
    state().dirty = abi::group::policy;
    run("no APIC in memory", ExitReason::hlt);
}

// TPR alone is the processor's: an interrupt waits until the guest lowers it, and whatever else the
// guest touches on the page exits before the instruction.
void test_task_priority_in_memory(u32 page) {
    start(guest_apic_tpr, interrupts_off);
    state().virtual_apic = abi::virtual_apic::task_priority;
    state().apic_page = page;
    state().pending_interrupt = abi::pending::valid | vector; // of class 5
    run_to_handler("TPR above the interrupt", 0x76);
    expect("TPR as written", gpr(abi::Gpr::rsi), 0x65);
    expect("TPR on the page", guest.apic(apic::task_priority), 0x65);
    expect("TPR's class", state().tpr, 6);
    expect("the interrupt waits", state().pending_interrupt, abi::pending::valid | vector);
    state().rip = state().next_rip;
    run_to_handler("TPR below the interrupt", vector);
    expect("TPR after the exit", gpr(abi::Gpr::rdi), 0x65);
    expect("TPR keeps its low half", guest.apic(apic::task_priority), 0x42);
    expect("the interrupt was delivered", state().pending_interrupt, 0);
    state().rip = state().next_rip;
    run("a register read", ExitReason::apic_access);
    expect("its offset and a read", state().info[0],
           apic::id | abi::apic_access_type::read << abi::apic_access_type::shift);
    state().rip += 6;
    run("a register written", ExitReason::apic_access);
    expect("its offset and a write", state().info[0],
           apic::eoi | abi::apic_access_type::write << abi::apic_access_type::shift);
    state().rip += 10;
    run("after the accesses", ExitReason::hlt);
}

// Each way that the processor offers; a part of them is said to be left out.
void test_virtual_apic() {
    const u32 offered = state().virtual_apics;
    if (offered != abi::virtual_apic::known)
        rt::print("virtual APIC left out: this processor offers {:x}\n", offered);
    if (offered == abi::virtual_apic::none)
        return;
    const u32 page = native::own_memory().take();
    expect("APIC page mapped",
           static_cast<u64>(native::own_memory().map(
               apic_address, page, abi::right::read | abi::right::write, guest.space())),
           static_cast<u64>(Error::ok));
    if ((offered & abi::virtual_apic::x2apic) != 0)
        test_virtual_x2apic();
    if ((offered & abi::virtual_apic::memory) != 0)
        test_virtual_apic_in_memory(page);
    if ((offered & abi::virtual_apic::task_priority) != 0)
        test_task_priority_in_memory(page);
}

// A block of 2 MiB in one entry of the guest's tables, and without it again.
void test_block() {
    constexpr u64 here = abi::free_address + 0x2000'0000, there = 0x20'0000;
    constexpr u8 rights = abi::right::read | abi::right::write;
    const u32 block = native::own_memory().whole_block(0);
    const u32 self = abi::start_selector::space;
    (void)user::table_map(self, here, 2, native::own_memory().take());
    const auto mapped = user::map_block(self, here, block, rights).error;
    expect("block mapped here", static_cast<u64>(mapped), static_cast<u64>(Error::ok));
    const auto given = user::map_block(guest.space(), there, block, rights).error;
    expect("block mapped in the guest", static_cast<u64>(given), static_cast<u64>(Error::ok));
    if (mapped != Error::ok || given != Error::ok) {
        return;
    }
    auto* const words = reinterpret_cast<volatile u32*>(here);
    words[0x7'ffff] = 0x1eaf'1eaf;
    start(guest_block, interrupts_off);
    run_to_handler("block", 0x75);
    expect("read at the end of the block", gpr(abi::Gpr::rbx), 0x1eaf'1eaf);
    expect("written at its begin", words[0], 0x600d'f00d);
    state().rip = state().next_rip;
    expect("block taken from the guest",
           static_cast<u64>(user::unmap(guest.space(), there, 2).error),
           static_cast<u64>(Error::ok));
    run("no translation of it is left", ExitReason::memory);
    expect("the address without the block", state().info[0], there);
}

// Refused, and nothing of it is taken: the guest runs on as it was.
void test_refusals() {
    inject("before the refusal", external, vector, interrupts_on);
    state().cr0 = 0x19;
    state().efer = ~u64{0};
    state().dirty = abi::group::control;
    const SmallGuest::Exit exit = guest.run(patience_ms);
    expect("unknown bits in EFER", static_cast<u64>(exit.error), static_cast<u64>(Error::guard));
    expect("the rule has a number", static_cast<u64>(exit.reason) != 0, 1);
    expect("the request stays", state().dirty & abi::group::control, abi::group::control);
    state().dirty = 0;
    state().rip = address_of(guest_idle);
    run("after the refusal", ExitReason::deadline, 5);
    expect("CR0 is as it was", state().cr0, 0x11);
    expect("EFER is as it was", state().efer, 0);
}

} // namespace
} // namespace horos::guest_test

void horos::rt::program_main(const abi::StartPage& start) {
    using namespace horos::guest_test;
    native::own_memory().open(start, 1);
    guest.create(native::own_memory(), abi::start_selector::first_free,
                 abi::free_address + 0x1000'0000);
    guest.load(guest_begin, guest_end);
    make_tables();
    const u32 limit = descriptor_table_limit();
    test_vendor(start);
    test_injection();
    test_nmi_window();
    test_window();
    test_pending();
    test_replay();
    test_control_registers();
    test_msrs();
    test_virtual_apic();
    test_block();
    test_refusals();
    test_host_tables(limit);
    test_own_fs();
    print("guests: {} passed, {} failed\n", passed, failed);
}
