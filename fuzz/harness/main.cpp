// The harness: takes cases from shared memory, runs each, hands back what changed.
// GIF is 0 from start to end (as it is after every #VMEXIT), except while idle and where a case
// asks for host events.
#include "console.hpp"
#include "cpu.hpp"
#include "horos/fuzz/wire.hpp"

#include <cstddef>
#include <cstdint>

namespace wire = horos::fuzz::wire;
using namespace horos::harness;

extern "C" {
void run_guest(const wire::CaseSlot*);
void run_guest_user(const wire::CaseSlot*);
void bare_loop(uint64_t vmcb, uint64_t count);
bool try_wrmsr(uint32_t msr, uint64_t value);
extern uint64_t run_gpr[16], run_rsp, run_rsp_after, run_rflags, run_vector, run_error,
    run_fault_rip;
extern uint32_t run_active, run_nmis, run_intrs;
extern const char vectors[], run_vmrun[], user_vmrun[];
extern uint64_t gdt_tss[2];
extern const char gdt_pointer64[];
}

namespace {

constexpr uint32_t MSR_EFER = 0xc0000080, MSR_TSC_AUX = 0xc0000103, MSR_HSAVE = 0xc0010117;
constexpr uint64_t EFER_SVME = 1 << 12;
constexpr uint64_t APIC = 0xfee00000;

struct [[gnu::packed]] TablePointer {
    uint16_t limit;
    uint64_t base;
};

struct Gate {
    uint16_t low;
    uint16_t selector;
    uint16_t type;
    uint16_t middle;
    uint32_t high;
    uint32_t zero;
};

Gate idt[256];
struct [[gnu::packed]] {
    uint32_t reserved;
    uint64_t rsp[3];
    uint64_t ist[8];
    uint64_t tail;
    uint16_t tail2;
    uint16_t iomap;
} tss;
alignas(16) uint8_t ring0Stack[4096];
uint64_t efer;

wire::Mailbox& mailbox() { return *reinterpret_cast<wire::Mailbox*>(wire::MAILBOX_PA); }
template <typename T>
T* at(uint64_t pa) {
    return reinterpret_cast<T*>(pa);
}

void apic_write(uint32_t reg, uint32_t value) { *at<volatile uint32_t>(APIC + reg) = value; }
uint32_t apic_read(uint32_t reg) { return *at<volatile uint32_t>(APIC + reg); }

void load_tables() {
    for (int i = 0; i < 256; ++i) {
        uint64_t entry = reinterpret_cast<uint64_t>(vectors) + 16u * unsigned(i);
        idt[i] = {uint16_t(entry), 8, 0x8e00, uint16_t(entry >> 16), uint32_t(entry >> 32), 0};
    }
    TablePointer pointer{sizeof idt - 1, reinterpret_cast<uint64_t>(idt)};
    asm volatile("lidt %0" ::"m"(pointer));
    tss.rsp[0] = reinterpret_cast<uint64_t>(ring0Stack + sizeof ring0Stack);
    tss.iomap = sizeof tss;
    uint64_t base = reinterpret_cast<uint64_t>(&tss);
    gdt_tss[0] =
        (sizeof tss - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt_tss[1] = base >> 32;
    asm volatile("lgdt %0" ::"m"(*reinterpret_cast<const TablePointer*>(gdt_pointer64)));
    asm volatile("ltr %w0" ::"r"(0x28));
}

[[gnu::always_inline]] inline void read_host(uint64_t (&host)[wire::H_COUNT]) {
    TablePointer table;
    host[wire::H_CR0] = read_cr0();
    host[wire::H_CR2] = read_cr2();
    host[wire::H_CR3] = read_cr3();
    host[wire::H_CR4] = read_cr4();
    host[wire::H_CR8] = read_cr8();
    host[wire::H_EFER] = rdmsr(MSR_EFER);
    host[wire::H_RFLAGS] = run_rflags;
    host[wire::H_DR6] = read_dr6();
    host[wire::H_DR7] = read_dr7();
    asm volatile("sgdt %0" : "=m"(table));
    host[wire::H_GDTR_BASE] = table.base;
    host[wire::H_GDTR_LIMIT] = table.limit;
    asm volatile("sidt %0" : "=m"(table));
    host[wire::H_IDTR_BASE] = table.base;
    host[wire::H_IDTR_LIMIT] = table.limit;
    uint16_t cs, ss, ds, es, tr, ldtr;
    asm volatile("mov %%cs, %0; mov %%ss, %1; mov %%ds, %2; mov %%es, %3; str %4; sldt %5"
                 : "=m"(cs), "=m"(ss), "=m"(ds), "=m"(es), "=m"(tr), "=m"(ldtr));
    host[wire::H_SELECTORS] = cs | uint64_t{ss} << 16 | uint64_t{ds} << 32 | uint64_t{es} << 48;
    host[wire::H_TR_LDTR] = tr | uint64_t{ldtr} << 16;
    host[wire::H_HSAVE_PA] = rdmsr(MSR_HSAVE);
    host[wire::H_RSP_DELTA] = run_rsp_after - run_rsp;
}

// One condition for all: a branch ends a translated block.
[[gnu::always_inline]] inline bool as_it_was(const uint64_t (&found)[wire::H_COUNT]) {
    constexpr wire::HostReg KEPT[] = {wire::H_CR0,        wire::H_CR3,       wire::H_CR4,
                                      wire::H_CR8,        wire::H_EFER,      wire::H_DR6,
                                      wire::H_DR7,        wire::H_HSAVE_PA,  wire::H_GDTR_BASE,
                                      wire::H_GDTR_LIMIT, wire::H_IDTR_BASE, wire::H_IDTR_LIMIT};
    const auto& good = mailbox().baseline;
    uint64_t differs = 0;
#pragma clang loop unroll(full)
    for (wire::HostReg reg : KEPT)
        differs |= found[reg] ^ good[reg];
    return differs == 0;
}

// What a leak could have broken is put right, so that one case's damage stays its own.
[[gnu::noinline]] void mend_host(const uint64_t (&found)[wire::H_COUNT]) {
    const auto& good = mailbox().baseline;
    if (found[wire::H_DR7] != good[wire::H_DR7])
        write_dr(7, good[wire::H_DR7]);
    if (found[wire::H_DR6] != good[wire::H_DR6])
        write_dr(6, good[wire::H_DR6]);
    if (found[wire::H_CR0] != good[wire::H_CR0])
        asm volatile("mov %0, %%cr0" ::"r"(good[wire::H_CR0]));
    if (found[wire::H_CR3] != good[wire::H_CR3])
        asm volatile("mov %0, %%cr3" ::"r"(good[wire::H_CR3]));
    if (found[wire::H_CR4] != good[wire::H_CR4])
        asm volatile("mov %0, %%cr4" ::"r"(good[wire::H_CR4]));
    if (found[wire::H_CR8] != good[wire::H_CR8])
        asm volatile("mov %0, %%cr8" ::"r"(good[wire::H_CR8]));
    if (found[wire::H_EFER] != good[wire::H_EFER])
        wrmsr(MSR_EFER, good[wire::H_EFER]);
    if (found[wire::H_HSAVE_PA] != good[wire::H_HSAVE_PA])
        wrmsr(MSR_HSAVE, good[wire::H_HSAVE_PA]);
    if (found[wire::H_GDTR_BASE] != good[wire::H_GDTR_BASE] ||
        found[wire::H_IDTR_BASE] != good[wire::H_IDTR_BASE] ||
        found[wire::H_GDTR_LIMIT] != good[wire::H_GDTR_LIMIT] ||
        found[wire::H_IDTR_LIMIT] != good[wire::H_IDTR_LIMIT]) {
        TablePointer gdtr{uint16_t(good[wire::H_GDTR_LIMIT]), good[wire::H_GDTR_BASE]};
        TablePointer idtr{uint16_t(good[wire::H_IDTR_LIMIT]), good[wire::H_IDTR_BASE]};
        asm volatile("lgdt %0; lidt %1" ::"m"(gdtr), "m"(idtr));
    }
}

[[gnu::always_inline]] inline void install(const wire::CaseSlot& c) {
    uint8_t* vmcb = at<uint8_t>(mailbox().vmcb);
    copy_block<wire::CONTROL_QWORDS>(vmcb, c.control);
    copy_block<wire::SAVE_QWORDS>(vmcb + wire::SAVE_OFFSET, c.save);
    for (uint32_t left = c.windows; left; left &= left - 1) {
        const wire::Window& w = mailbox().window[__builtin_ctz(left)];
        copy_qwords(at<void>(w.address), c.window + w.offset, w.qwords);
    }
    for (uint32_t i = 0; i < c.patches; ++i)
        *at<uint64_t>(c.patch[i].address) = c.patch[i].value;
    if (c.flags & wire::FRESH_CODE)
        copy_qwords(at<void>(c.codeAddress), c.code, c.codeQwords);
    if (c.flags & wire::DEBUG_REGS)
        for (unsigned i = 0; i < 4; ++i)
            write_dr(i, c.dr[i]);
}

void self_interrupt(uint32_t low) {
    apic_write(0x310, apic_read(0x20) & 0xff000000); // to this processor
    apic_write(0x300, low);
    while (apic_read(0x300) & 0x1000) {
    }
}

// Host state that the case asks for. False: an MSR write was refused (recorded as #GP).
[[gnu::noinline]] bool prepare_host(const wire::CaseSlot& c) {
    if (c.flags & wire::SET_HSAVE && !try_wrmsr(MSR_HSAVE, c.hsave))
        return false;
    if (c.flags & wire::NO_SVME)
        wrmsr(MSR_EFER, efer & ~EFER_SVME);
    if (c.flags & wire::PEND_NMI)
        self_interrupt(0x4400);
    if (c.flags & wire::PEND_INTR)
        self_interrupt(0x4000 | wire::INTR_VECTOR);
    if (c.flags & wire::HOST_IF)
        asm volatile("sti; nop");
    return true;
}

[[gnu::always_inline]] inline void collect(const wire::CaseSlot& c, wire::ResultSlot& r) {
    const uint8_t* vmcb = at<uint8_t>(mailbox().vmcb);
    copy_block<16>(r.gpr, run_gpr);
    read_host(r.host);
    if (!as_it_was(r.host))
        mend_host(r.host);
    copy_block<wire::CONTROL_QWORDS>(r.control, vmcb);
    copy_block<wire::SAVE_QWORDS>(r.save, vmcb + wire::SAVE_OFFSET);
    for (uint32_t left = c.windows; left; left &= left - 1) {
        const wire::Window& w = mailbox().window[__builtin_ctz(left)];
        copy_qwords(r.window + w.offset, at<void>(w.address), w.qwords);
        copy_qwords(at<void>(w.address), mailbox().windowTemplate + w.offset, w.qwords);
    }
    for (uint32_t i = c.patches; i-- > 0;)
        *at<uint64_t>(c.patch[i].address) = c.patch[i].before;
    if (c.flags & wire::DEBUG_REGS) {
        r.dr[0] = read_dr0();
        r.dr[1] = read_dr1();
        r.dr[2] = read_dr2();
        r.dr[3] = read_dr3();
        for (unsigned i = 0; i < 4; ++i)
            write_dr(i, 0);
    }
}

// After the case: what came in although GIF was 0, and what was still pending.
[[gnu::always_inline]] inline void settle_events(const wire::CaseSlot& c, wire::ResultSlot& r) {
    r.early = run_nmis + run_intrs;
    constexpr uint64_t INJECTS_NMI = 2;
    if ((c.control[0xa8 / 8] >> 8 & 7) == INJECTS_NMI)
        iret_to_next(); // a target may still mask NMIs for the guest's, which no IRET ended
    if (c.flags & (wire::PEND_NMI | wire::PEND_INTR)) {
        stgi();
        asm volatile("sti; nop; nop; nop; cli");
        clgi();
    }
    r.nmis = run_nmis;
    r.intrs = run_intrs;
}

[[gnu::always_inline]] inline void run_case(const wire::CaseSlot& c, wire::ResultSlot& r) {
    install(c);
    run_vector = ~0ull;
    run_nmis = run_intrs = 0;
    if (c.flags & wire::VMLOAD)
        vmload(mailbox().vmcb);
    bool prepared = true;
    constexpr uint32_t HOST =
        wire::SET_HSAVE | wire::NO_SVME | wire::PEND_NMI | wire::PEND_INTR | wire::HOST_IF;
    if (c.flags & HOST)
        prepared = prepare_host(c);
    if (!prepared) {
        run_vector = 13;
        run_fault_rip = 0;
    } else if (c.flags & wire::USER_MODE) {
        vmload(wire::HOST_STATE_PA); // the ring 0 stack comes from our own TSS
        run_guest_user(&c);
        vmload(wire::BASE_STATE_PA);
    } else {
        run_guest(&c);
    }
    if (c.flags & wire::HOST_IF)
        asm volatile("cli");
    if (c.flags & wire::NO_SVME)
        wrmsr(MSR_EFER, efer);
    if (c.flags & wire::VMLOAD) {
        vmsave(mailbox().vmcb);
        vmload(wire::BASE_STATE_PA);
        wrmsr(MSR_TSC_AUX, 0); // the one such register that VMLOAD leaves alone
    }
    collect(c, r);
    if (run_vector == ~0ull) {
        r.status = wire::Status::Exit;
        r.vector = 0;
        r.error = r.rip = 0;
    } else {
        r.status = wire::Status::Exception;
        r.vector = uint32_t(run_vector);
        r.error = run_error;
        // relative to the instruction, so that it does not change with each build of the harness
        uint64_t vmrun =
            reinterpret_cast<uint64_t>(c.flags & wire::USER_MODE ? user_vmrun : run_vmrun);
        r.rip = prepared ? run_fault_rip - vmrun : 0;
    }
    settle_events(c, r);
    r.id = c.id;
}

[[gnu::noinline]] void idle() {
    apic_write(0x380, 100000); // a tenth of a millisecond on QEMU
    stgi();
    asm volatile("sti; hlt; cli");
    clgi();
}

[[gnu::noinline]] void run_command(wire::Mailbox& box) {
    switch (wire::Command(box.command)) {
    case wire::Command::BareLoop:
        install(*at<wire::CaseSlot>(wire::CASES_PA));
        bare_loop(box.vmcb, box.argument);
        break;
    case wire::Command::LoadBase:
        vmload(wire::BASE_STATE_PA);
        break;
    default:
        break;
    }
    box.commandDone = box.commandSeq;
}

[[noreturn, gnu::section(".text.hot")]] void serve() {
    wire::Mailbox& box = mailbox();
    unsigned quiet = 0;
    uint64_t next = 0; // `consumed` lives in memory that the fuzzer may reset only through us
    for (;;) {
        if (box.produced != next) {
            quiet = 0;
            uint64_t index = next % wire::SLOTS;
            run_case(*at<wire::CaseSlot>(wire::CASES_PA + index * wire::SLOT_SIZE),
                     *at<wire::ResultSlot>(wire::RESULTS_PA + index * wire::SLOT_SIZE));
            box.consumed = ++next;
        } else if (box.commandSeq != box.commandDone) {
            quiet = 0;
            run_command(box);
        } else if (++quiet > 2000) {
            idle();
        } else {
            asm volatile("pause");
        }
    }
}

// What #VMEXIT restores whatever the guest did (APM vol. 2 §15.6); CR8 and DR6 may be the guest's.
bool host_restored(const wire::ResultSlot& r) {
    constexpr wire::HostReg RESTORED[] = {wire::H_CR0,        wire::H_CR3,       wire::H_CR4,
                                          wire::H_EFER,       wire::H_DR7,       wire::H_GDTR_BASE,
                                          wire::H_GDTR_LIMIT, wire::H_IDTR_BASE, wire::H_IDTR_LIMIT,
                                          wire::H_SELECTORS,  wire::H_RSP_DELTA};
    bool good = true;
    for (wire::HostReg reg : RESTORED) {
        if (r.host[reg] == mailbox().baseline[reg])
            continue;
        good = false;
        print("differs: host state ");
        print_hex(reg);
        print(" expected ");
        print_hex(mailbox().baseline[reg]);
        print(" got ");
        print_hex(r.host[reg]);
        print("\n");
    }
    return good;
}

[[gnu::section(".embedded"), gnu::used]] wire::Embedded embedded = {.magic = wire::EMBEDDED_EMPTY};

// A standalone image: build the arena, run the one case, compare, say so, end.
[[noreturn]] void run_embedded() {
    wire::Mailbox& box = mailbox();
    for (uint32_t i = 0; i < embedded.arenaRuns; ++i)
        for (uint64_t k = 0; k < embedded.arena[i].count; ++k)
            *at<uint64_t>(embedded.arena[i].address + 8 * k) = embedded.arena[i].value;
    copy_qwords(box.window, embedded.window, sizeof embedded.window / 8);
    copy_qwords(box.windowTemplate, embedded.windowTemplate, wire::WINDOW_QWORDS);
    copy_qwords(at<uint8_t>(wire::BASE_STATE_PA) + wire::SAVE_OFFSET, embedded.baseState,
                wire::SAVE_QWORDS);
    vmload(wire::BASE_STATE_PA);
    static wire::ResultSlot result;
    print("case: ");
    print(embedded.title);
    print("\n");
    run_case(embedded.slot, result);
    print(result.status == wire::Status::Exit ? "exit " : "host exception ");
    print_hex(result.status == wire::Status::Exit ? result.control[0x70 / 8] : result.vector);
    print("\n");
    bool good = result.status != wire::Status::Exit || host_restored(result);
    for (uint32_t i = 0; i < embedded.expectations; ++i) {
        const wire::Expectation& e = embedded.expectation[i];
        uint64_t got = *reinterpret_cast<const uint64_t*>(
                           reinterpret_cast<const uint8_t*>(&result) + e.offset) &
                       e.mask;
        if (got == e.value)
            continue;
        good = false;
        print("differs: ");
        print(e.name);
        print(" expected ");
        print_hex(e.value);
        print(" got ");
        print_hex(got);
        print("\n");
    }
    print(good ? "VERDICT agrees with the model\n" : "VERDICT diverges from the model\n");
    end_run(good);
}

} // namespace

extern "C" [[noreturn]] void harness_fault(const uint64_t* frame) {
    print("harness: host exception ");
    print_hex(frame[0]);
    print(" error ");
    print_hex(frame[1]);
    print(" at ");
    print_hex(frame[2]);
    print(" cr2 ");
    print_hex(read_cr2());
    print("\n");
    end_run(false);
}

extern "C" void harness_main() {
    load_tables();
    outb(0x21, 0xff); // no interrupts from the old controllers
    outb(0xa1, 0xff);
    efer = rdmsr(MSR_EFER);
    wrmsr(MSR_HSAVE, wire::HSAVE_PA);
    apic_write(0xf0, 0x1ff);
    apic_write(0x3e0, 0xb);               // timer: divide by one
    apic_write(0x320, wire::IDLE_VECTOR); // one-shot
    apic_write(0x350, 0x10000);           // LINT0, LINT1 off
    apic_write(0x360, 0x10000);
    clgi();
    vmsave(wire::HOST_STATE_PA);

    wire::Mailbox& box = mailbox();
    box.vmcb = wire::ARENA_PA;
    box.version = wire::VERSION;
    box.slots = wire::SLOTS;
    run_rflags = 2;
    run_rsp = run_rsp_after = 0;
    read_host(box.baseline);
    box.produced = 0;
    box.consumed = 0;
    box.commandSeq = 0;
    box.commandDone = 0;
    if (embedded.magic == wire::EMBEDDED_CASE)
        run_embedded();
    // Touch every page that the fuzzer looks for, each with its own address in it.
    for (uint64_t pa = wire::CASES_PA; pa < wire::SHARED_END; pa += 4096) {
        at<uint64_t>(pa)[0] = wire::MAGIC;
        at<uint64_t>(pa)[1] = pa;
    }
    for (uint64_t pa = wire::ARENA_PA; pa < wire::ARENA_PA + wire::ARENA_SIZE; pa += 4096) {
        at<uint64_t>(pa)[0] = wire::MAGIC;
        at<uint64_t>(pa)[1] = pa;
    }
    at<uint64_t>(wire::BASE_STATE_PA)[0] = wire::MAGIC;
    at<uint64_t>(wire::BASE_STATE_PA)[1] = wire::BASE_STATE_PA;
    asm volatile("" ::: "memory");
    box.magic = wire::MAGIC;
    print(wire::READY);
    serve();
}
