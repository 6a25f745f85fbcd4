// The guest processor: its state, and what the instructions and events do with it.
//
// One object follows one path through the allowed behaviours. Stops are thrown (stops.hpp).
//   state.cpp      loading from the VMCB, saving to it
//   access.cpp     segmentation, paging, memory accesses
//   delivery.cpp   events through the IDT, double faults, EXITINTINFO
//   boundary.cpp   what is pending between instructions
//   decode.cpp     fetching, operands
//   run.cpp        the instruction loop
//   insn_*.cpp     instructions
#pragma once

#include "guest/paging.hpp"

#include <Zydis/Zydis.h>

namespace horos::model::svm::guest {

using horos::svm::EventType;

enum class SegReg : uint8_t { ES, CS, SS, DS, FS, GS };

// An event on its way through the IDT.
struct Event {
    EventType type = EventType::EXCEPTION;
    uint8_t vector = 0;
    bool has_error = false;
    uint32_t error = 0;
    bool checks_dpl = false; // INTn, INT3, INTO
    uint64_t return_rip = 0;
    uint64_t return_rip_known = ~0ull;
    bool virtual_nmi = false;
    bool injected = false;            // by EVENTINJ
    std::optional<bool> pushes_error; // where that is not what has_error says
    bool error_on_stack() const { return pushes_error.value_or(has_error); }
};

struct Insn {
    ZydisDecodedInstruction zydis{};
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT] = {};
    uint64_t next_rip = 0;
    unsigned operand_bits() const { return zydis.operand_width; }
};

// What an instruction that does not complete leaves as it was.
struct Registers {
    std::array<Masked, 16> gpr;
    std::array<Segment, 6> seg;
    uint64_t rip, rflags, rflags_known;
    uint8_t cpl;
};

class Cpu {
public:
    Cpu(const Machine& machine, Choices& choices, Prediction& prediction);

    // Follows the guest to its end. Most leave by an intercepted instruction: that exit is
    // returned, all other ends are thrown.
    Exit run();
    // The outcome of a #VMEXIT, a halt, ... on this path.
    Outcome outcome(const Exit& exit);
    Outcome outcome(const Stop& stop);
    // Whether a course that is not followed may end the part without a message, on this path.
    bool dies_unfollowed(std::string_view why) const;

    // ---- state ----
    const Machine& machine;
    const Profile& profile;
    const horos::svm::ControlArea& control;
    Choices& choices;
    Prediction& prediction;
    MemoryView memory;

    std::array<Segment, 6> seg{};
    Segment gdtr{}, idtr{}, ldtr{}, tr{};
    uint64_t cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, efer = 0, dr6 = 0, dr7 = 0, rflags = 0, rip = 0;
    uint64_t rflags_known = ~0ull;
    uint64_t cr2_known = ~0ull;
    uint64_t dr6_known = ~0ull;
    uint64_t dr7_known = ~0ull;
    uint64_t g_pat = 0;
    uint8_t cpl = 0;
    std::array<Masked, 16> gpr{};
    std::array<uint64_t, 4> dr{};
    uint64_t kernel_gs_base = 0, star = 0, lstar = 0, cstar = 0, sfmask = 0;
    uint64_t sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
    Masked tsc_aux{}, xcr0{};
    bool shadow = false;      // interrupt shadow now
    bool next_shadow = false; // after the instruction that executes
    uint32_t int_ctl = 0;
    Masked apic_tpr{0, 0};
    bool nmi_blocked = false;
    bool nmi_pending = false;
    std::optional<uint8_t> intr_pending;
    bool waiting = false;  // HLT, MWAIT
    int pause_budget = -1; // remaining PAUSEs of the filter, -1: no filter
    bool ever_nonshadow = false;
    std::optional<Event> delivering;       // what EXITINTINFO reports
    std::optional<Event> first_delivering; // of several that came of one another
    bool virq_in_delivery = false;
    bool if_before = false;       // Deviation::VIRQ_MASKED: RFLAGS.IF when it was last looked at
    bool virq_unmasked = false;   // ... and what became of it
    bool stack_base_high = false; // the VMCB's SS base has more than 32 bits
    bool intercept_skipped = false;
    bool entered_handler = false;  // the instruction was a software interrupt that was delivered
    bool loaded_resume = false;    // the instruction was an IRET that set RF
    uint64_t insn_next_rip = 0;    // nRIP of the instruction that executes
    bool insn_length_known = true; // not of undefined encodings
    std::optional<uint64_t> uncommitted_rip; // Deviation::NMI_RIP_UNCOMMITTED: before the NMI
    std::vector<uint64_t> table_entries;     // guest and nested entries that walks used
    bool tables_written = false;
    // Translations of this guest that are perhaps stale, separately for data and for code.
    struct Held {
        TlbEntry entry;
        bool data = true, code = true;
    };
    std::vector<Held> tlb;
    bool modifies = false; // a read that the instruction will write back
    Outcome result;        // collects side information (tsc_reads, instructions, ...)

    // ---- modes ----
    bool protected_mode() const { return (cr0 & x86::cr0::PE) != 0; }
    bool v86() const { return protected_mode() && (rflags & x86::rflags::VM) != 0; }
    bool real() const { return !protected_mode(); }
    bool long_mode() const { return (efer & x86::efer::LMA) != 0; }
    bool code64() const { return long_mode() && (sreg(SegReg::CS).attributes & x86::seg::L) != 0; }
    bool code32() const {
        return !code64() && !real() && !v86() && (sreg(SegReg::CS).attributes & x86::seg::DB) != 0;
    }
    bool stack32() const { return (sreg(SegReg::SS).attributes & x86::seg::DB) != 0; }
    unsigned iopl() const { return (rflags & x86::rflags::IOPL) >> x86::rflags::IOPL_SHIFT; }
    bool nested_paging() const;
    bool has(uint32_t svm_edx_bit) const { return profile.svm_feature(svm_edx_bit); }
    Segment& sreg(SegReg r) { return seg[static_cast<size_t>(r)]; }
    const Segment& sreg(SegReg r) const { return seg[static_cast<size_t>(r)]; }
    unsigned linear_bits() const { return (cr4 & x86::cr4::LA57) != 0 ? 57 : 48; }
    // Deviation::TABLE_BASES_64, SS_L_STACK: stack accesses of IRET and of event delivery outside
    // long mode, which some parts make in another way than pushes and pops.
    void uses_stack_base() const {
        if (long_mode()) {
            return;
        }
        if (stack_base_high && deviates(Deviation::TABLE_BASES_64)) {
            throw Open{"a stack base with more than 32 bits"};
        }
        if (protected_mode() && (sreg(SegReg::SS).attributes & x86::seg::L) != 0 &&
            deviates(Deviation::SS_L_STACK)) {
            throw Open{"a stack pointer that is masked to nothing"};
        }
    }
    // Linear addresses have 32 bits outside long mode.
    uint64_t table_linear(uint64_t address) const {
        if (long_mode()) {
            return address;
        }
        const unsigned beyond = 64 - profile.linear_bits; // it loads bases canonical (§15.5.1)
        const auto loaded =
            static_cast<uint64_t>(static_cast<int64_t>(address << beyond) >> beyond);
        const bool wide = loaded >> 32 != 0 && deviates(Deviation::TABLE_BASES_64);
        return wide ? loaded : address & 0xffffffffull;
    }
    // Whether a near transfer to `offset` leaves the code segment (outside 64-bit mode).
    bool beyond_code(uint64_t offset) const {
        return offset > sreg(SegReg::CS).limit && !deviates(Deviation::NO_CODE_LIMIT);
    }
    bool canonical(uint64_t address) const;
    uint64_t canonicalize(uint64_t address) const;

    // ---- memory (access.cpp) ----
    uint64_t translate(uint64_t linear, Access access, bool user, bool implicit);
    // A translation that the TLB may still hold, where this path uses it (tlb.cpp).
    std::optional<uint64_t> held_translation(uint64_t linear, Access access, bool user);
    void drop_translations(bool global_too);
    void drop_translation(uint64_t linear);
    uint64_t nested_translate(uint64_t address, Access access, uint64_t stage);
    uint64_t linear(SegReg r, uint64_t offset, unsigned bytes, Access access);
    uint64_t translate_read(uint64_t linear, bool user, bool implicit);
    uint64_t read_linear(uint64_t linear, unsigned bytes, bool implicit = false);
    void write_linear(uint64_t linear, uint64_t value, unsigned bytes, uint64_t known = ~0ull,
                      bool implicit = false);
    // #AC, which comes after the other faults of an access.
    void check_alignment(uint64_t linear, unsigned bytes, Access access);
    Masked read(SegReg r, uint64_t offset, unsigned bytes, bool implicit = false);
    void write(SegReg r, uint64_t offset, const Masked& value, unsigned bytes);

    // ---- events (delivery.cpp, boundary.cpp) ----
    void raise(const Exception& exception); // intercepts, double faults, then delivery
    void deliver(const Event& event);
    void inject();
    void boundary(); // at the start of each instruction
    uint64_t exit_int_info() const;
    unsigned virtual_tpr() const; // what V_TPR holds
    bool virtual_interrupt_above_tpr() const;
    void note_interrupt_flag();

    // ---- execution ----
    Insn fetch();
    void step();
    void execute(const Insn& insn);
    bool execute_sensitive(const Insn& insn); // table-driven; false: not in the table
    bool execute_basic(const Insn& insn);
    bool execute_fpu(const Insn& insn); // x87, MMX, SSE
    // The instruction bytes at CS:RIP that a fetch without side effects reaches (§15.8.4);
    // nullopt if some are not known.
    std::optional<std::vector<uint8_t>> instruction_bytes();
    // Undoes the instruction that was executing, if any. (The catcher of a stop calls it: passing
    // stops on at every level would cost more than all the rest of a prediction.)
    void roll_back();
    // One more step of a repeated instruction is done for good.
    void commit_step();
    void note_debug_cause(uint64_t cause); // in DR6, for the #DB that follows
    // Breakpoints and general detect name all breakpoints that were met, and no others (§13.1.1.3).
    void note_matches(uint64_t hit);
    void note_single_step();
    // INT1, and #DB that is injected: whether they clear DR7.GD is not said.
    void debug_handler_without_cause() { dr7_known &= ~(dr7 & x86::dr7::GD); }
    void enter_debug_handler(); // DR7 and DR6, where a #DB is delivered or intercepted
    // Deviation::TRAP_LEAKS: the instruction that executes would have been followed by a
    // single-step trap, which another kind of exit than an exception's overtakes.
    bool leaks_trap(const Exit& exit) const;
    // The row of the sensitive-instruction table that executes, for the coverage features.
    std::optional<unsigned> row;
    // Whether the part to predict deviates so. Ask only where that makes a difference: it is noted.
    bool deviates(Deviation d) const {
        if (!machine.deviations.test(d)) {
            return false;
        }
        prediction.deviated.set(d);
        return true;
    }
    void feature(unsigned number) { prediction.features.set(number % 1024); }

    // ---- operands (decode.cpp) ----
    Masked read_reg(ZydisRegister reg);
    void write_reg(ZydisRegister reg, const Masked& value);
    uint64_t reg_value(ZydisRegister reg); // throws Open if not defined
    uint64_t gpr_value(Gpr g) { return known_value(gpr[static_cast<size_t>(g)]); }
    uint64_t gpr32(Gpr g) {
        return known_value({gpr[static_cast<size_t>(g)].value & 0xffffffff,
                            gpr[static_cast<size_t>(g)].known | 0xffffffff00000000ull});
    }
    void set_gpr32(Gpr g, Masked value);
    uint64_t known_value(const Masked& value);
    uint64_t effective_offset(const ZydisDecodedOperand& memory_operand);
    SegReg segment_of(const ZydisDecodedOperand& memory_operand);
    Masked read_operand(const ZydisDecodedOperand& operand);
    void write_operand(const ZydisDecodedOperand& operand, const Masked& value);
    void push(const Masked& value, unsigned bytes);
    Masked pop(unsigned bytes, bool implicit = false); // `implicit`: as a supervisor
    uint64_t flags_value();                            // throws Open if a flag is not defined

    bool intercepted(horos::svm::Misc1 b) const { return (control.intercept_misc1 & bit(b)) != 0; }
    bool intercepted(horos::svm::Misc2 b) const { return (control.intercept_misc2 & bit(b)) != 0; }
    bool intercepted(horos::svm::Misc3 b) const { return (control.intercept_misc3 & bit(b)) != 0; }

    std::optional<Exit> left; // the exit by which the instruction that executes leaves

private:
    void load_tlb();
    Registers before_{};
    struct DebugState {
        uint64_t dr6, dr7, dr6_known;
    };
    std::optional<DebugState> before_cause_; // Deviation::DB_COMMIT_LATE
    bool executing_ = false;
    void load();
    void save_vmcb(Outcome& out, const Exit& exit);
    void save_instruction_bytes(Outcome& out, const Exit& exit);
    Outcome common_outcome() const;
    uint64_t current_rip() const;
    uint64_t table_base_known(uint64_t base) const;
    uint64_t error_on_stack(const Event& event) const;
    uint32_t error_as_pushed(const Event& event) const;
    uint64_t pushed_flags_known(const Event& event) const;
    Exception with_ext(Exception e) const;
    bool panic_looks_beyond() const;
    std::string_view panic_message() const;
    void deliver_real(const Event& event);
    void deliver_protected(const Event& event);
    void deliver_long(const Event& event);
    void take_virtual_interrupt();
    bool physical_interrupts_enabled() const;
    void assert_stack(uint64_t offset, unsigned bytes) const;
    bool virtual_gif() const;
};

// A present code or data segment: what Deviation::SEGMENT_KINDS leaves alone.
constexpr bool is_segment(const Segment& s) {
    constexpr uint16_t WANTED = x86::seg::P | x86::seg::S;
    return (s.attributes & WANTED) == WANTED;
}
constexpr bool is_system_segment(const Segment& s) {
    constexpr uint16_t KNOWN = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 9 | 1u << 11; // TSSs and LDT
    const bool system = (s.attributes & (x86::seg::P | x86::seg::S)) == x86::seg::P;
    return system && (KNOWN >> (s.attributes & 0xf) & 1) != 0;
}

// Which of FS, GS, LDTR and TR, as Outcome::vmsave_base_open counts them, are neither.
uint8_t odd_bases(const Outcome& out);

// An MSR that a part holds at least in `certain`: if the value has more, the rest is open.
inline constexpr uint64_t LINEAR_SURE = 0x00007fffffffffffull;
constexpr Masked held(uint64_t value, uint64_t certain) {
    const bool sign_extended = (value & ~LINEAR_SURE) == ~LINEAR_SURE && certain == LINEAR_SURE;
    return {value, (value & ~certain) == 0 || sign_extended ? ~0ull : certain};
}

// #GP(0), #UD: the short forms that instruction handlers throw.
[[noreturn]] inline void gp0() { throw fault(x86::Vector::GP, 0); }
[[noreturn]] inline void ud() { throw fault(x86::Vector::UD); }

} // namespace horos::model::svm::guest
