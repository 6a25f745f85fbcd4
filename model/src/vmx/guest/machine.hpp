// The guest processor: its state, and what the instructions and events do with it. One object
// follows the guest to its first exit; that and all else that ends the run is thrown.
//   state.cpp     what an entry loads and an exit saves
//   paging.cpp    guest page walks
//   memory.cpp    physical memory, segments, linear accesses
//   ept.cpp       EPT walks
//   tlb.cpp       cached translations
//   vapic.cpp     the virtual APIC and virtual interrupts
//   boundary.cpp  what is pending between instructions, and after an entry
//   events.cpp    exceptions
//   delivery*.cpp delivery through the IDT
//   task_switch.cpp  far transfers and IRET to other tasks
//   decode.cpp    fetching, operands, instruction information
//   insn_*.cpp    instructions
#pragma once

#include "horos/model/vmx/guest.hpp"
#include "path_choices.hpp"

#include "tables.hpp"

#include <Zydis/Zydis.h>
#include <functional>

namespace horos::model::vmx::guest {

using horos::vmx::ExitReason;
using horos::vmx::InterruptionType;
using F = Field;

// Order of the VMCS fields and of the instruction encoding.
enum class Seg : uint8_t { ES, CS, SS, DS, FS, GS, LDTR, TR };

struct Open { // what the manual or the model leaves open
    std::string why;
};
struct Exit {
    ExitReason reason = ExitReason::TRIPLE_FAULT;
    Masked qualification{0, ~0ull};
    std::optional<unsigned> length;
    std::optional<Masked> information; // instruction information
    std::optional<uint64_t> linear;
    std::optional<uint64_t> physical;
    uint32_t interruption = 0; // valid bit clear: no event
    uint32_t interruption_known = 0x80000fff;
    std::optional<uint32_t> error_code;
    bool rip_after = false; // trap-like: the instruction is complete
    bool rf_known = false;
    Exit() = default;
    explicit Exit(ExitReason r) : reason(r) {}
};
struct Exception {
    uint8_t vector = 0;
    std::optional<uint32_t> error;
    uint64_t qualification = 0; // #PF: the linear address; #DB: as DR6
    InterruptionType type = InterruptionType::HARDWARE_EXCEPTION;
    unsigned length = 0; // software exceptions
    uint64_t qualification_known = ~0ull;
    bool error_known = true; // whether the manual says which error code it is
};

enum class Kind : uint8_t { READ, WRITE, FETCH };
struct Access {
    Kind kind = Kind::READ;
    bool user = false;
    bool modify = false; // a write that also reads
};

struct Insn {
    ZydisDecodedInstruction zydis{};
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT] = {};
    unsigned length = 0;
    uint64_t next = 0;
};

struct Event { // on its way through the IDT
    InterruptionType type = InterruptionType::EXTERNAL;
    uint8_t vector = 0;
    std::optional<uint32_t> error;
    unsigned length = 0; // software events
    bool injected = false, virtual_interrupt = false;
};

class Guest {
public:
    Guest(const GuestInput& input, Choices& choices);
    // `stuck`: with VIRTUAL_NMI_STICKS, that an earlier guest had left NMIs blocked.
    // `caches`: with PML_INDEX_ALWAYS, that a second access to a page makes no walk.
    GuestExit run(bool stuck = false, bool caches = false);

    // ---- state ----
    const Profile& profile;
    RuleState s; // the VMCS; guest fields change as the guest runs
    const GuestInput& input;
    std::array<uint64_t, 16> gpr{};
    std::array<uint64_t, 16> gpr_known;
    uint64_t rip = 0, rflags = 0, cr0 = 0, cr3 = 0, cr4 = 0, dr7 = 0, efer = 0;
    uint64_t cr0_known = 0;
    uint64_t sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
    uint64_t fs_base = 0, gs_base = 0;
    uint32_t activity = 0, interruptibility = 0;
    uint64_t eptp = 0;
    uint16_t pml_index = 0;
    bool sti_shadow_next = false, mov_ss_next = false;
    std::optional<Event> delivering;
    bool clears_nmi_unblocking = false;
    bool ss_made_null = false; // by a switch of stacks
    std::map<uint64_t, Masked> writes;
    std::vector<std::string> path;
    unsigned instructions = 0;
    Choices& choices;
    Deviations deviated;
    // Whether to predict so. Ask only where that makes a difference: it is noted.
    bool deviates(Deviation d) {
        const bool on = input.deviations[static_cast<size_t>(d)];
        deviated[static_cast<size_t>(d)] = deviated[static_cast<size_t>(d)] || on;
        return on;
    }

    // ---- controls ----
    bool pin(uint32_t bit) const { return (s[F::PIN_CONTROLS] & bit) != 0; }
    bool proc(uint32_t bit) const { return (s[F::PROC_CONTROLS] & bit) != 0; }
    bool proc2(uint32_t bit) const {
        return proc(horos::vmx::proc::ACTIVATE_SECONDARY) && (s[F::PROC_CONTROLS_2] & bit) != 0;
    }
    bool entry(uint32_t bit) const { return (s[F::ENTRY_CONTROLS] & bit) != 0; }
    bool exit_control(uint32_t bit) const { return (s[F::EXIT_CONTROLS] & bit) != 0; }

    // ---- modes ----
    bool protected_mode() const { return (cr0 & x86::cr0::PE) != 0; }
    bool paging() const { return (cr0 & x86::cr0::PG) != 0; }
    bool v86() const { return (rflags & x86::rflags::VM) != 0; }
    bool ia32e() const { return entry(horos::vmx::entry_ctl::IA32E_MODE_GUEST); }
    bool code64() const { return ia32e() && (rights(Seg::CS) & horos::vmx::rights::L) != 0; }
    bool code32() const { return !code64() && (rights(Seg::CS) & horos::vmx::rights::DB) != 0; }
    unsigned cpl() const {
        return !protected_mode() ? 0
               : v86()           ? 3
                                 : rights(Seg::SS) >> horos::vmx::rights::DPL_SHIFT & 3;
    }
    unsigned iopl() const { return rflags >> x86::rflags::IOPL_SHIFT & 3; }
    uint32_t rights(Seg r) const {
        return uint32_t(s[horos::vmx::plus(F::GUEST_ES_RIGHTS, unsigned(r))]);
    }
    bool unusable(Seg r) const { return (rights(r) & horos::vmx::rights::UNUSABLE) != 0; }
    uint64_t base(Seg r) const {
        return r == Seg::FS   ? fs_base
               : r == Seg::GS ? gs_base
                              : s[horos::vmx::plus(F::GUEST_ES_BASE, unsigned(r))];
    }
    uint64_t limit(Seg r) const { return s[horos::vmx::plus(F::GUEST_ES_LIMIT, unsigned(r))]; }
    bool canonical(uint64_t address) const;
    bool ept() const { return proc2(horos::vmx::proc2::ENABLE_EPT); }
    bool ept_ad() const { return (eptp & horos::vmx::eptp::ACCESSED_DIRTY) != 0; }

    // ---- memory ----
    uint64_t physical(uint64_t address, bool& known) const; // aligned quadword
    uint64_t physical(uint64_t address) const;              // throws Open if not known
    void put_physical(uint64_t address, uint64_t value, uint64_t mask, uint64_t known = ~0ull);
    struct Linear { // which linear address an access is for, if any
        std::optional<uint64_t> address;
        bool translated = true; // false: to a paging-structure entry
        bool user = false, writable = true, nx = false;
    };
    uint64_t ept_translate(uint64_t gpa, Access access, const Linear& linear);
    uint64_t walk(uint64_t linear, Access access); // to a guest-physical address
    uint64_t translate(uint64_t linear, Access access);
    // ---- cached translations (§28.4) ----
    uint16_t vpid() const {
        return uint16_t(proc2(horos::vmx::proc2::ENABLE_VPID) ? s[F::VPID] : 0);
    }
    uint16_t pcid() const { return uint16_t((cr4 & x86::cr4::PCIDE) != 0 ? cr3 & 0xfff : 0); }
    std::optional<uint64_t> held(bool physical, uint64_t address, Access access, bool as_write,
                                 const Linear& linear);
    struct Dropped { // of the guest's own VPID (§28.4.3.1)
        std::optional<uint64_t> page;
        std::optional<uint16_t> pcid;
        bool globals = true;
    };
    void drop(const Dropped& what);
    std::optional<Mapping> mapping_of(uint64_t page, bool physical);
    uint64_t linear_of(Seg r, uint64_t offset, unsigned bytes, Kind kind);
    uint64_t read(uint64_t linear, unsigned bytes, bool system = false);
    void write(uint64_t linear, uint64_t value, unsigned bytes, uint64_t known = ~0ull,
               bool system = false);

    // ---- events ----
    void raise(const Exception& exception); // exits, or delivers
    void deliver(const Event& event);
    void deliver_or_raise(const Event& event);
    void after_entry();
    void load_msrs();
    void between_instructions();
    void monitor_trap(bool injected = false); // §25.5.2, §26.6.2
    void in_shutdown();
    void wake_before_exit();
    [[noreturn]] void wait(); // what is not active, until the preemption timer
    void page_fault(uint64_t linear, Access access, bool present, bool reserved);

    // ---- the virtual APIC (chapter 29) ----
    uint32_t vapic(unsigned offset) const; // of the virtual-APIC page; throws Open if not known
    bool apic_page(uint64_t hpa) const;
    // Where on the virtual-APIC page an access to the APIC-access page ends, if it does not exit.
    uint64_t apic_read(uint64_t hpa, unsigned bytes);
    uint64_t apic_write(uint64_t hpa, unsigned bytes);
    [[noreturn]] void apic_fetch();
    [[noreturn]] void apic_table_access();
    void write_cr8(uint64_t value);
    bool read_x2apic(uint32_t number); // false: not one that is virtualised
    bool write_x2apic(uint32_t number);
    void end_apic_access();                       // after the operation
    void begin_virtual_interrupts(bool injected); // before, and after the injected event

    // ---- instructions ----
    std::vector<uint8_t> fetch_bytes(unsigned count);
    Insn fetch();
    void step();
    void execute(const Insn& insn);
    bool execute_cr_dr(const Insn& insn);
    bool execute_io_msr(const Insn& insn);
    bool execute_vmx(const Insn& insn);
    bool execute_tables(const Insn& insn);
    bool execute_system(const Insn& insn);
    bool execute_plain(const Insn& insn);
    bool execute_task(const Insn& insn);
    uint64_t read_tss(uint64_t offset, unsigned bytes);
    bool jumped = false; // the instruction has set RIP itself
    bool monitoring = false;
    [[noreturn]] void exit_instruction(ExitReason reason, const Insn& insn,
                                       uint64_t qualification = 0,
                                       std::optional<Masked> information = std::nullopt);

    // Where a memory operand's displacement would be the qualification (§27.2.1).
    [[noreturn]] void exit_register_form(ExitReason reason, const Insn& insn, Masked information);

    // ---- operands ----
    uint64_t reg(ZydisRegister r);
    void set_reg(ZydisRegister r, uint64_t value, uint64_t known = ~0ull);
    uint64_t gpr_value(unsigned n);
    Seg segment(const ZydisDecodedOperand& operand) const;
    uint64_t offset(const ZydisDecodedOperand& operand);
    uint64_t operand_linear(const ZydisDecodedOperand& operand, unsigned bytes, Kind kind);
    uint64_t displacement(const Insn& insn, const ZydisDecodedOperand& memory) const;
    uint32_t memory_information(const Insn& insn, const ZydisDecodedOperand& memory) const;
    uint64_t exit_linear(const ZydisDecodedOperand& operand); // without checks
    uint64_t operand_value(const ZydisDecodedOperand& operand, unsigned bytes);
    void put_operand(const ZydisDecodedOperand& operand, uint64_t value, unsigned bytes,
                     uint64_t known = ~0ull);
    std::map<uint16_t, uint64_t> shadow_vmcs; // what the guest wrote to its fields
    uint64_t visible_cr0() const;
    uint64_t visible_cr4() const;

private:
    void load();
    GuestExit save(const Exit& exit);
    void save_registers(GuestExit& out, const Exit& exit);
    // Vol. 1 §3.4.1.1: outside 64-bit mode bits 63:32 of the general registers are undefined.
    uint64_t defined_bits() const { return code64() ? ~0ull : 0xffffffff; }
    void put_vectoring(GuestExit& out);
    uint64_t walk_ia32e(uint64_t linear, Access access);
    uint64_t walk_legacy(uint64_t linear, Access access);
    // The entries that a walk uses, and the flags that it sets in them.
    struct UsedEntry {
        uint64_t gpa, host, value, flags;
        unsigned bytes;
    };
    std::vector<UsedEntry> used_;
    struct Held {
        Mapping mapping;
        bool code = true, data = true; // which of the two TLBs may still have it
    };
    std::vector<Held> tlb_;
    void load_tlb();
    bool tagged(const Mapping& m, bool physical) const;
    bool permits(const Mapping& m, Access access, bool as_write, const Linear& linear) const;
    bool caches_ = false, cached_ = false; // `cached_`: the access at hand makes no walk
    std::set<std::pair<uint64_t, Kind>> walked_;
    uint64_t table_entry(uint64_t gpa, unsigned bytes, uint64_t linear);
    void set_flags(uint64_t linear);
    void doubt_flags();
    uint64_t walk_tables(uint64_t linear, Access access);
    void check_rights(uint64_t linear, Access access, bool writable, bool user, bool nx);
    [[noreturn]] void ept_violation(uint64_t gpa, Access access, const Linear& linear,
                                    uint64_t combined, uint64_t entry);
    void virtualization_exception(uint64_t gpa, const Linear& linear, const Masked& qualification,
                                  uint64_t entry);
    void log_dirty(uint64_t gpa);
    void deliver_long(const Event& event, const Gate& gate);
    void deliver_real(const Event& event);
    void deliver_32(const Event& event, const Gate& gate);
    uint64_t next_item(uint64_t pointer, unsigned bytes) const;
    void check_room(unsigned items, unsigned bytes,
                    uint32_t error); // #SS before anything is pushed
    void push(uint64_t value, unsigned bytes, uint64_t known);
    SegmentDescriptor handler_descriptor(uint16_t selector, uint32_t ext);
    SegmentDescriptor gdt_descriptor(uint16_t selector, uint8_t fault, uint32_t error);
    unsigned handler_level(const SegmentDescriptor& d) const;
    void enter_handler(uint16_t selector, const SegmentDescriptor& d, bool interrupt_gate);
    void load_segment(Seg r, uint16_t selector, const SegmentDescriptor& d);
    void load_null(Seg r, unsigned level);
    void on_new_stack(const std::function<void()>& body);
    struct InnerStack {
        uint16_t selector = 0;
        uint64_t pointer = 0;
        SegmentDescriptor descriptor;
    };
    InnerStack stack_fields(unsigned level, uint32_t ext);
    InnerStack inner_stack(unsigned level, uint32_t ext);
    uint64_t long_stack(unsigned ist, unsigned level, uint32_t ext);
    enum class TaskSource : uint8_t { CALL, IRET, JMP, IDT_GATE }; // as the qualification has it
    [[noreturn]] void gate_to_task(uint16_t selector, uint32_t ext, TaskSource source,
                                   std::optional<unsigned> length);
    [[noreturn]] void switch_task(uint16_t selector, const SegmentDescriptor& d, uint32_t ext,
                                  TaskSource source, std::optional<unsigned> length);
    void far_transfer(const Insn& insn, TaskSource source);
    void iret(const Insn& insn);
    uint64_t read_descriptor(uint64_t linear);
    void begin_delivery();

    uint8_t rvi_ = 0, svi_ = 0;      // requesting and servicing virtual interrupt
    bool virtual_interrupt_ = false; // one is recognised
    bool faulted_delivery_ = false;
    // What the completion of the operation at hand brings about.
    enum class ApicAction : uint8_t { NONE, TPR, EOI, SELF_IPI, MEMORY_WRITE, WRITE_EXIT };
    ApicAction apic_action_ = ApicAction::NONE;
    uint16_t apic_offset_ = 0;
    uint8_t apic_vector_ = 0;
    void put_vapic(unsigned offset, uint32_t value);
    uint8_t vapic_highest(unsigned offset) const;
    void vapic_bit(unsigned offset, uint8_t vector, bool on);
    [[noreturn]] void apic_access_exit(uint64_t type, uint64_t offset, uint64_t known);
    [[noreturn]] void apic_write_exit(unsigned offset);
    void tpr_virtualization();
    void ppr_virtualization();
    void eoi_virtualization();
    void self_ipi_virtualization(uint8_t vector);
    void emulate_apic_write();
    void evaluate_virtual_interrupts();
    void deliver_virtual_interrupt();
    void window_exits();
};

[[noreturn]] inline void gp0() { throw Exception{13, 0u}; }
[[noreturn]] inline void ud() { throw Exception{6, std::nullopt}; }
uint32_t ext_bit(const Event& event);
uint32_t rights_in(const SegmentDescriptor& d); // as the VMCS has them
inline constexpr uint8_t DEBUG_VECTOR = 1;
// Whether an event of this type comes with an instruction length.
constexpr bool has_length(InterruptionType t) {
    return t == InterruptionType::SOFTWARE_INTERRUPT || t == InterruptionType::SOFTWARE_EXCEPTION ||
           t == InterruptionType::PRIVILEGED_SOFTWARE_EXCEPTION;
}
// Offsets on the virtual-APIC page (§29.1.1).
namespace vapic {
inline constexpr unsigned TPR = 0x80, PPR = 0xa0, EOI = 0xb0, ISR = 0x100, IRR = 0x200,
                          ICR_LOW = 0x300, ICR_HIGH = 0x310, SELF_IPI = 0x3f0;
}
int gpr_number(ZydisRegister r); // its encoding; -1: not a general register

} // namespace horos::model::vmx::guest
