// The VMX harness: takes cases from the shared block, writes the whole VMCS, enters, reads it back.
#include "golden.hpp"
#include "guest_memory.hpp"
#include "host_state.hpp"
#include "standalone_run.hpp"
#include "virtual_nmi.hpp"

#include <stddef.h>

using namespace horos::fuzz::vmx;

extern "C" uint32_t vmx_enter(uint32_t flags, const uint64_t* registers);
extern "C" uint32_t vmx_step(uint32_t instruction, const Operand* operand, uint64_t* value);
extern "C" uint64_t guest_registers[16];
extern "C" void* memset(void* to, int value, size_t size) {
    void* at = to;
    asm volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
    return to;
}

namespace {

void set_up_memory() {
    memset(reinterpret_cast<void*>(VMXON_PA), 0, UNBLOCKING_VMCS_PA + 4096 - VMXON_PA);
    put_arena([](uint64_t pa, uint64_t value) { *qwords(pa) = value; });
    keep_arena();
}

bool set_up_vmx() {
    wrmsr(0x3a, 5);
    const auto revision = uint32_t(rdmsr(0x480));
    constexpr uint64_t REGIONS[] = {VMXON_PA, VMCS_CLEAR_PA, VMCS_LAUNCHED_PA, UNBLOCKING_VMCS_PA};
    for (const uint64_t pa : REGIONS) {
        *dwords(pa) = revision;
    }
    for (unsigned n = 0; n < SEQUENCE_REGIONS; ++n) {
        *dwords(SEQUENCE_PA + n * 4096) = revision;
    }
    return vmxon(VMXON_PA) && vmclear(VMCS_CLEAR_PA) && vmclear(VMCS_LAUNCHED_PA) &&
           vmclear(UNBLOCKING_VMCS_PA);
}

// VMWRITE and VMREAD of all listed fields as straight code: a loop over a list costs an emulator
// four times as much.
constexpr size_t LIST_CODE = FIELDS * 12 + 16;
[[gnu::section(".generated")]] alignas(16) uint8_t write_code[LIST_CODE], read_code[LIST_CODE];

void generate(uint8_t* code, uint8_t opcode, const uint16_t* list, const uint8_t* slots,
              unsigned count) {
    const auto put32 = [&](uint32_t value) {
        for (unsigned n = 0; n < 4; ++n) {
            *code++ = uint8_t(value >> n * 8);
        }
    };
    for (unsigned n = 0; n < count; ++n) {
        *code++ = 0xb8; // mov $encoding, %eax
        put32(list[n]);
        *code++ = 0x0f; // vmwrite disp32(%rdi), %rax; vmread %rax, disp32(%rdi)
        *code++ = opcode;
        *code++ = 0x87;
        put32(slots[n] * 8u);
    }
    *code = 0xc3;
}
void take_fields() {
    Mailbox& box = mailbox();
    box.bad_encoding = 0;
    vmptrld(VMCS_CLEAR_PA);
    for (unsigned n = 0; n < box.write_count; ++n) {
        if (!vmwrite(box.write_list[n], 0)) {
            box.bad_encoding = box.write_list[n];
        }
    }
    generate(write_code, 0x79, box.write_list, box.write_slot, box.write_count);
    generate(read_code, 0x78, box.read_list, box.read_slot, box.read_count);
    program(true);
}
void write_all(const uint64_t* values) {
    reinterpret_cast<void (*)(const uint64_t*)>(write_code)(values);
}
void read_all(uint64_t* values) { reinterpret_cast<void (*)(uint64_t*)>(read_code)(values); }
// Which encodings can be read at all: 1 in `value`, at their place in the list.
void probe(Result& result) {
    const Mailbox& box = mailbox();
    vmptrld(VMCS_CLEAR_PA);
    for (unsigned n = 0; n < box.read_count; ++n) {
        uint64_t ignored;
        result.value[n] = vmread(box.read_list[n], ignored) ? 1 : 0;
    }
    result.outcome = EXITED;
}

// ---- sequences of VMX instructions ----

uint64_t enter_step(const Operand& op, Result& result, unsigned n) {
    const bool resume = op.instruction == 8;
    const uint32_t flags = (resume ? FLAG_RESUME : 0u) | (op.mov_ss != 0 ? FLAG_MOV_SS : 0u);
    const HostValues before = host_values();
    data_clean = false;
    const uint32_t outcome = vmx_enter(flags, guest_registers);
    if (outcome == EXITED) {
        reload_tables(before);
        vmread(0x4402, result.value[n * 2 + 1]);
    }
    return outcome;
}
void run_sequence(const Case& test, Result& result) {
    const HostValues before = host_values();
    Operand off{};
    uint64_t nothing;
    vmx_step(1, &off, &nothing); // no VMCS is current in the beginning
    vmxon(VMXON_PA);
    for (unsigned n = 0; n < OPERATIONS; ++n) {
        const Operand& op = test.step[n];
        uint64_t outcome = SUCCEEDED;
        result.value[n * 2 + 1] = 0;
        if (op.instruction == STEP_FILL) {
            uint64_t pointer; // outside VMX operation VMWRITE would fault
            if (vmx_step(4, &op, &pointer) == SUCCEEDED) {
                write_all(test.value);
            }
        } else if (op.instruction == STEP_REVISION) {
            *dwords(op.operand) = uint32_t(op.value);
        } else if (op.instruction == 7 || op.instruction == 8) {
            outcome = enter_step(op, result, n);
        } else {
            outcome = vmx_step(op.instruction, &op, &result.value[n * 2 + 1]);
        }
        uint64_t error = 0;
        if (outcome == FAIL_VALID) {
            vmread(0x4400, error);
        }
        result.value[n * 2] = outcome | error << 32;
    }
    // Back to where every case begins.
    asm volatile("mov %0, %%cr0; mov %1, %%cr4" ::"r"(before.cr0), "r"(before.cr4));
    Operand op{};
    uint64_t ignored;
    vmx_step(1, &op, &ignored);
    const auto revision = uint32_t(rdmsr(0x480));
    for (unsigned n = 0; n < SEQUENCE_REGIONS; ++n) {
        *dwords(SEQUENCE_PA + n * 4096) = revision;
    }
    vmxon(SEQUENCE_PA);
    vmclear(VMXON_PA); // a sequence may have used it as a VMCS, and launched it
    vmx_step(1, &op, &ignored);
    vmxon(VMXON_PA);
    for (unsigned n = 0; n < SEQUENCE_REGIONS; ++n) {
        vmclear(SEQUENCE_PA + n * 4096);
    }
    result.outcome = SUCCEEDED;
    result.host_changed = changed(before, host_values());
}

// ---- one case ----

void prepare_memory(const Case& test, uint64_t pa) {
    for (unsigned n = 0; n < 4; ++n) {
        qwords(PAE_PDPT_PA)[n] = test.pdpte[n];
    }
    *dwords(LINK_PA) = test.link_revision;
    *reinterpret_cast<uint8_t*>(VAPIC_PA + 0x80) = uint8_t(test.vtpr);
    if ((test.flags & FLAG_NO_VMCS) != 0) {
        vmclear(pa);
    }
    if ((test.flags & FLAG_SHADOW) != 0) {
        vmclear(pa);
        *dwords(pa) |= 0x80000000u;
        vmptrld(pa);
    }
    if ((test.flags & FLAG_VMXOFF) != 0) {
        asm volatile("vmxoff" ::: "memory", "cc");
    }
}

void end_nmi_blocking(uint64_t pa, const HostValues& before) {
    if (!virtual_nmis_blocked()) {
        return;
    }
    if (unblock_virtual_nmis()) {
        reload_tables(before);
    }
    data_clean = false;
    vmptrld(pa);
}

// The entry before the one that is judged: it may leave translations cached.
void enter_before(const Case& test, uint64_t pa, const HostValues& before) {
    const Twice& t = test.twice;
    invvpid(2, 0, 0);
    put_edits(t);
    for (unsigned n = 0; n < t.fields; ++n) {
        vmwrite(t.field[n].address, t.field[n].value);
    }
    if (vmx_enter(test.flags, test.guest.gpr) == EXITED) {
        reload_tables(before);
        unblock_nmis();
        take_edits_back(t);
        end_nmi_blocking(pa, before);
    } else {
        take_edits_back(t);
    }
    restore_memory(test.guest);
    write_all(test.value);
    if (t.instruction == TWICE_INVEPT) {
        invept(t.type, t.operand);
    } else if (t.instruction == TWICE_INVVPID) {
        invvpid(t.type, t.operand, t.linear);
    }
}

void enter_case(const Case& test, Result& result, uint64_t pa, const HostValues& before) {
    const bool guest = (test.flags & FLAG_GUEST) != 0;
    uint32_t flags = test.flags;
    if (guest) {
        prepare_guest(test.guest);
    }
    if ((flags & FLAG_TWICE) != 0) {
        enter_before(test, pa, before);
        flags |= FLAG_RESUME;
    }
    data_clean = false;
    result.outcome = vmx_enter(flags, guest ? test.guest.gpr : guest_registers);
    if ((test.flags & FLAG_VMXOFF) != 0) {
        vmxon(VMXON_PA);
        vmptrld(pa);
    }
    if (result.outcome == EXITED) {
        reload_tables(before);
        unblock_nmis();
        read_all(result.value);
    } else if (result.outcome == FAIL_VALID) {
        uint64_t error = 0;
        vmread(0x4400, error);
        result.error = uint32_t(error);
    }
    if ((test.flags & FLAG_VAPIC) != 0) {
        for (unsigned n = 0; n < VAPIC_REGISTERS; ++n) {
            result.vapic[n] = dwords(VAPIC_PA)[n * 4];
        }
    }
    for (unsigned n = 0; n < VE_WORDS; ++n) {
        result.ve[n] = qwords(VE_PA)[n];
    }
    if (guest) {
        finish_guest(test.guest, result, mailbox().host.cr0);
        restore_arena((flags & FLAG_NO_EPT) == 0);
    }
    if (result.outcome == EXITED) {
        end_nmi_blocking(pa, before);
    }
    if (guest) {
        invept(2, 0);
    }
    if ((flags & FLAG_TWICE) != 0) {
        fill_second_page();
        invvpid(2, 0, 0);
    }
    memset(reinterpret_cast<void*>(VE_PA), 0, VE_WORDS * 8);
    if ((test.flags & FLAG_VAPIC) != 0) {
        memset(reinterpret_cast<void*>(VAPIC_PA), 0, VAPIC_REGISTERS * 16);
        memset(reinterpret_cast<void*>(APIC_PA), 0, VAPIC_REGISTERS * 16 + 64);
    }
}

void run(const Case& test, Result& result) {
    result.bad_encoding = mailbox().bad_encoding;
    result.error = 0;
    if ((test.flags & FLAG_PROBE) != 0) {
        probe(result);
        return;
    }
    if ((test.flags & FLAG_CHECK) != 0) {
        const uint64_t arena = changed_arena();
        result.value[0] = arena != 0 ? arena : program(false);
        result.outcome = SUCCEEDED;
        return;
    }
    if ((test.flags & FLAG_SEQUENCE) != 0) {
        run_sequence(test, result);
        return;
    }
    if (result.bad_encoding != 0) {
        result.outcome = WRITE_FAILED;
        return;
    }
    const HostValues before = host_values();
    if ((test.flags & FLAG_BARE) != 0) { // no more than the entry, the exit and the host's tables
        result.outcome = vmx_enter(FLAG_RESUME, guest_registers);
        reload_tables(before);
        result.host_changed = 0;
        return;
    }
    const uint64_t pa = (test.flags & FLAG_LAUNCHED) != 0 ? VMCS_LAUNCHED_PA : VMCS_CLEAR_PA;
    if ((test.flags & FLAG_LAUNCHED) == 0) {
        vmclear(pa);
    }
    vmptrld(pa);
    write_all(test.value);
    if (!unblocking::prepared) {
        vmptrld(UNBLOCKING_VMCS_PA); // the first case of a run is one that enters
        write_all(test.value);
        prepare_unblocking();
        vmptrld(pa);
    }
    prepare_memory(test, pa);
    enter_case(test, result, pa, before);
    if ((test.flags & FLAG_SHADOW) != 0) {
        vmclear(pa);
        *dwords(pa) &= 0x7fffffffu;
    }
    result.host_changed = changed(before, host_values());
    if (result.host_changed != 0) {
        const HostValues& own = mailbox().host;
        asm volatile("mov %0, %%cr0; mov %1, %%cr4" ::"r"(own.cr0), "r"(own.cr4));
        wrmsr(0xc0000080, own.efer);
        horos::harness::outb(0x21, uint8_t(own.interrupt_masks));
        horos::harness::outb(0xa1, uint8_t(own.interrupt_masks >> 8));
    }
}

void serve(unsigned n) {
    Lane& lane = mailbox().lane[n];
    if (lane.command == FIELDS_CHANGED) {
        take_fields();
    } else {
        for (unsigned i = 0; i < lane.count; ++i) {
            lane.current = i;
            Slot& s = slot(n * LANE_SLOTS + i);
            run(s.test, s.result);
        }
    }
    asm volatile("" ::: "memory");
    lane.command = IDLE;
}

} // namespace

extern "C" void harness_main() {
    set_up_descriptors();
    set_up_memory();
    Mailbox& box = mailbox();
    memset(&box, 0, 4096);
    const bool works = set_up_vmx();
    box.host = host_values();
    if (works && has_case()) {
        run_embedded(box, slot(0), take_fields, run);
    }
    box.self = SHARED_PA;
    box.magic = MAGIC;
    box.ready = works ? 1 : 2;
    for (unsigned n = 0;; n ^= 1) {
        if (box.lane[n].command != IDLE) {
            serve(n);
        }
        asm volatile("" ::: "memory");
    }
}
