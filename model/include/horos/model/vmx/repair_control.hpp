// The repair of the rules on the instruction, the controls and the host state; see rule_repair.hpp.
#pragma once

#include "horos/model/vmx/evaluate.hpp"

namespace horos::model::vmx {

template <class D>
class RepairBase {
public:
    using Bits = typename D::Bits;
    using Bool = typename D::Bool;
    using F = Field;
    using E = Extra;
    using R = RuleId;

    RepairBase(RuleInputs<D> state, const Profile& profile, RuleSet skip)
        : s_(std::move(state)), p_(profile), skip_(skip) {}

protected:
    Bool broken(RuleId id) const {
        return skip_[static_cast<size_t>(id)] ? D::truth(false) : !evaluate_rule<D>(id, s_, p_);
    }
    View<D> view() const { return {s_, p_}; }
    template <class I>
    void change(RuleId id, I input, const Bits& value) {
        s_[input] = D::select(broken(id), value, s_[input]);
    }
    template <class I>
    void set(RuleId id, I input, uint64_t mask) {
        change(id, input, s_[input] | D::bits(mask));
    }
    template <class I>
    void clear(RuleId id, I input, uint64_t mask) {
        change(id, input, s_[input] & ~D::bits(mask));
    }
    template <class I>
    void put(RuleId id, I input, uint64_t value) {
        change(id, input, D::bits(value));
    }
    // An address: without the bits it may not have.
    void address(RuleId id, F field, uint64_t low) {
        clear(id, field, view().beyond_physical() | low);
    }
    void page(RuleId id, F field) { address(id, field, PAGE_OFFSET); }
    void canonical(RuleId id, F field) { clear(id, field, view().sign_bits()); }
    void within(RuleId id, F field, const Allowed& a) {
        change(id, field, (s_[field] | D::bits(a.zero)) & D::bits(a.one));
    }
    void fixed(RuleId id, F field, uint64_t must_be_1, uint64_t may_be_1) {
        change(id, field, (s_[field] | D::bits(must_be_1)) & D::bits(may_be_1));
    }
    void event_off(RuleId id) {
        clear(id, F::ENTRY_INTERRUPTION_INFO, horos::vmx::interruption::VALID);
    }

    RuleInputs<D> s_;
    const Profile& p_;
    RuleSet skip_;
};

// §26.1, §26.2.1.
template <class D>
class ControlRepair : public RepairBase<D> {
protected:
    using Base = RepairBase<D>;
    using Base::Base;
    using typename Base::E;
    using typename Base::F;
    using typename Base::R;

    void instruction() {
        this->put(R::INSN_VMX_OPERATION, E::VMX_OPERATION, 1);
        const auto mode = this->broken(R::INSN_MODE);
        auto& s = this->s_;
        s[E::CR0] = D::select(mode, s[E::CR0] | D::bits(x86::cr0::PE), s[E::CR0]);
        s[E::RFLAGS] = D::select(mode, s[E::RFLAGS] & ~D::bits(x86::rflags::VM), s[E::RFLAGS]);
        s[E::CS_L] = D::select(mode, D::bits(1), s[E::CS_L]);
        this->put(R::INSN_CPL0, E::CPL, 0);
        this->put(R::INSN_CURRENT_VMCS, E::CURRENT_VMCS, 0x1000);
        this->put(R::INSN_SHADOW_VMCS, E::SHADOW_VMCS, 0);
        this->put(R::INSN_MOV_SS, E::MOV_SS, 0);
        this->put(R::INSN_CLEAR, E::LAUNCHED, 0);
        this->put(R::INSN_LAUNCHED, E::LAUNCHED, 1);
    }
    void reserved() {
        const Profile& p = this->p_;
        this->within(R::PIN_RESERVED, F::PIN_CONTROLS, p.pin);
        this->within(R::PROC_RESERVED, F::PROC_CONTROLS, p.proc);
        this->within(R::PROC2_RESERVED, F::PROC_CONTROLS_2, p.proc2);
        this->clear(R::PROC3_RESERVED, F::PROC_CONTROLS_3, ~p.proc3);
        this->within(R::EXIT_RESERVED, F::EXIT_CONTROLS, p.exit);
        this->within(R::ENTRY_RESERVED, F::ENTRY_CONTROLS, p.entry);
        this->clear(R::ENTRY_SMM, F::ENTRY_CONTROLS,
                    horos::vmx::entry_ctl::ENTRY_TO_SMM |
                        horos::vmx::entry_ctl::DEACTIVATE_DUAL_MONITOR);
    }
    // Controls that want others are taken back, since the part may lack the others.
    void dependencies() {
        namespace c2 = horos::vmx::proc2;
        const auto clear2 = [&](RuleId id, uint32_t control) {
            this->clear(id, F::PROC_CONTROLS_2, control);
        };
        this->clear(R::VIRTUAL_NMIS, F::PIN_CONTROLS, horos::vmx::pin::VIRTUAL_NMIS);
        this->clear(R::NMI_WINDOW, F::PROC_CONTROLS, horos::vmx::proc::NMI_WINDOW_EXITING);
        clear2(R::TPR_SHADOW_X2APIC, c2::VIRTUALIZE_X2APIC);
        clear2(R::TPR_SHADOW_REGISTERS, c2::APIC_REGISTER_VIRTUALIZATION);
        clear2(R::TPR_SHADOW_DELIVERY, c2::VIRTUAL_INTERRUPT_DELIVERY);
        clear2(R::X2APIC_APIC_ACCESS, c2::VIRTUALIZE_X2APIC);
        clear2(R::VIRTUAL_INTERRUPT_DELIVERY, c2::VIRTUAL_INTERRUPT_DELIVERY);
        this->clear(R::POSTED_DELIVERY, F::PIN_CONTROLS, horos::vmx::pin::POSTED_INTERRUPTS);
        this->clear(R::POSTED_ACKNOWLEDGE, F::PIN_CONTROLS, horos::vmx::pin::POSTED_INTERRUPTS);
        clear2(R::PML_EPT, c2::ENABLE_PML);
        clear2(R::UNRESTRICTED_EPT, c2::UNRESTRICTED_GUEST);
        clear2(R::MODE_BASED_EPT, c2::MODE_BASED_EPT_EXECUTE);
        clear2(R::SUB_PAGE_EPT, c2::SUB_PAGE_WRITE);
        this->clear(R::VMFUNC_RESERVED, F::VM_FUNCTION_CONTROLS, ~this->p_.vmfunc);
        this->clear(R::EPTP_SWITCHING_EPT, F::VM_FUNCTION_CONTROLS,
                    horos::vmx::vmfunc::EPTP_SWITCHING);
        this->clear(R::EXIT_SAVE_TIMER, F::EXIT_CONTROLS,
                    horos::vmx::exit_ctl::SAVE_PREEMPTION_TIMER);
    }
    void host_size() {
        using namespace horos::vmx;
        const auto wide = this->view().has(this->s_[E::EFER], x86::efer::LMA);
        const auto exits = this->s_[F::EXIT_CONTROLS];
        this->change(R::HOST_SIZE_64, F::EXIT_CONTROLS,
                     D::select(wide, exits | D::bits(exit_ctl::HOST_64BIT),
                               exits & ~D::bits(exit_ctl::HOST_64BIT)));
        this->clear(R::HOST_SIZE_GUEST, F::ENTRY_CONTROLS, entry_ctl::IA32E_MODE_GUEST);
        // Needs controls of all three kinds, so after them.
        this->clear(R::PT_GUEST_PHYSICAL, F::PROC_CONTROLS_2, proc2::PT_GUEST_PHYSICAL);
    }
    void values() {
        this->put(R::CR3_TARGET_COUNT, F::CR3_TARGET_COUNT, 0);
        this->page(R::IO_BITMAP_A_ADDRESS, F::IO_BITMAP_A);
        this->page(R::IO_BITMAP_B_ADDRESS, F::IO_BITMAP_B);
        this->page(R::MSR_BITMAP_ADDRESS, F::MSR_BITMAP);
        this->page(R::VIRTUAL_APIC_ADDRESS, F::VIRTUAL_APIC_ADDRESS);
        this->clear(R::TPR_THRESHOLD_HIGH, F::TPR_THRESHOLD, ~0xfull);
        this->put(R::TPR_THRESHOLD_VTPR, F::TPR_THRESHOLD, 0);
        this->page(R::APIC_ACCESS_ADDRESS, F::APIC_ACCESS_ADDRESS);
        this->clear(R::POSTED_VECTOR, F::POSTED_INTERRUPT_VECTOR, 0xff00);
        this->address(R::POSTED_DESCRIPTOR, F::POSTED_INTERRUPT_DESCRIPTOR, 0x3f);
        this->put(R::VPID_ZERO, F::VPID, 1);
        this->page(R::PML_ADDRESS, F::PML_ADDRESS);
        this->page(R::SUB_PAGE_ADDRESS, F::SPP_TABLE_POINTER);
        this->page(R::EPTP_LIST_ADDRESS, F::EPTP_LIST_ADDRESS);
        this->page(R::VMREAD_BITMAP_ADDRESS, F::VMREAD_BITMAP);
        this->page(R::VMWRITE_BITMAP_ADDRESS, F::VMWRITE_BITMAP);
        this->page(R::VE_INFORMATION_ADDRESS, F::VE_INFORMATION_ADDRESS);
        this->put(R::TSC_MULTIPLIER, F::TSC_MULTIPLIER, 1ull << 48);
        eptp();
        for (const auto& [start, end, count, field] :
             {MsrArea{R::EXIT_MSR_STORE_ADDRESS, R::EXIT_MSR_STORE_END, F::EXIT_MSR_STORE_COUNT,
                      F::EXIT_MSR_STORE_ADDRESS},
              MsrArea{R::EXIT_MSR_LOAD_ADDRESS, R::EXIT_MSR_LOAD_END, F::EXIT_MSR_LOAD_COUNT,
                      F::EXIT_MSR_LOAD_ADDRESS},
              MsrArea{R::ENTRY_MSR_LOAD_ADDRESS, R::ENTRY_MSR_LOAD_END, F::ENTRY_MSR_LOAD_COUNT,
                      F::ENTRY_MSR_LOAD_ADDRESS}}) {
            this->address(start, field, 0xf);
            this->put(end, count, 0);
        }
    }

private:
    struct MsrArea {
        RuleId start, end;
        F count, field;
    };
    void eptp() {
        using namespace horos::vmx;
        const uint64_t cap = this->p_.ept_vpid;
        const uint64_t type = (cap & ept_cap::TYPE_WB) != 0 ? eptp::TYPE_WB : eptp::TYPE_UC;
        const auto old = this->s_[F::EPTP];
        this->change(R::EPTP_MEMORY_TYPE, F::EPTP,
                     (old & ~D::bits(eptp::MEMORY_TYPE)) | D::bits(type));
        const uint64_t walk =
            (cap & ept_cap::WALK_4) != 0 ? eptp::WALK_4 : 4ull << eptp::WALK_SHIFT;
        const auto typed = this->s_[F::EPTP];
        this->change(R::EPTP_WALK, F::EPTP, (typed & ~D::bits(eptp::WALK)) | D::bits(walk));
        this->clear(R::EPTP_ACCESSED_DIRTY, F::EPTP, eptp::ACCESSED_DIRTY);
        this->clear(R::EPTP_SHADOW_STACK, F::EPTP, eptp::SUPERVISOR_SHADOW_STACK);
        this->address(R::EPTP_RESERVED, F::EPTP, eptp::RESERVED_LOW);
    }
};

// §26.2.2 to §26.2.4.
template <class D>
class HostRepair : public ControlRepair<D> {
protected:
    using Base = ControlRepair<D>;
    using Base::Base;
    using typename Base::F;
    using typename Base::R;

    void host() {
        const Profile& p = this->p_;
        this->fixed(R::HOST_CR0, F::HOST_CR0, p.cr0_fixed0, p.cr0_fixed1);
        this->fixed(R::HOST_CR4, F::HOST_CR4, p.cr4_fixed0, p.cr4_fixed1);
        this->set(R::HOST_CET_WP, F::HOST_CR0, x86::cr0::WP);
        this->clear(R::HOST_PCIDE, F::HOST_CR4, x86::cr4::PCIDE);
        this->set(R::HOST_PAE, F::HOST_CR4, x86::cr4::PAE);
        this->address(R::HOST_CR3, F::HOST_CR3, 0);
        this->clear(R::HOST_PERF_GLOBAL_CTRL, F::HOST_PERF_GLOBAL_CTRL, ~p.perf_global_defined);
        this->put(R::HOST_PAT, F::HOST_PAT, x86::PAT_RESET);
        this->clear(R::HOST_EFER_RESERVED, F::HOST_EFER, ~p.efer_defined);
        constexpr uint64_t BOTH = x86::efer::LMA | x86::efer::LME;
        const auto efer = this->s_[F::HOST_EFER];
        this->change(R::HOST_EFER_MODE, F::HOST_EFER,
                     D::select(predicates::host_64(this->view()), efer | D::bits(BOTH),
                               efer & ~D::bits(BOTH)));
        this->put(R::HOST_S_CET, F::HOST_S_CET, 0);
        this->put(R::HOST_SSP, F::HOST_SSP, 0);
        this->clear(R::HOST_PKRS, F::HOST_PKRS, HIGH_HALF);
        for (const auto& [id, field] : {std::pair{R::HOST_SYSENTER_ESP, F::HOST_SYSENTER_ESP},
                                        {R::HOST_SYSENTER_EIP, F::HOST_SYSENTER_EIP},
                                        {R::HOST_ISST, F::HOST_ISST_ADDR},
                                        {R::HOST_FS_BASE, F::HOST_FS_BASE},
                                        {R::HOST_GS_BASE, F::HOST_GS_BASE},
                                        {R::HOST_GDTR_BASE, F::HOST_GDTR_BASE},
                                        {R::HOST_IDTR_BASE, F::HOST_IDTR_BASE},
                                        {R::HOST_TR_BASE, F::HOST_TR_BASE},
                                        {R::HOST_RIP, F::HOST_RIP}}) {
            this->canonical(id, field);
        }
        this->clear(R::HOST_RIP_HIGH, F::HOST_RIP, HIGH_HALF);
        const auto selectors = this->broken(R::HOST_SELECTOR_BITS);
        for (unsigned n = 0; n < 7; ++n) {
            auto& selector = this->s_[horos::vmx::plus(F::HOST_ES_SELECTOR, n)];
            selector = D::select(selectors, selector & ~D::bits(7), selector);
        }
        this->put(R::HOST_CS_NULL, F::HOST_CS_SELECTOR, 0x08);
        this->put(R::HOST_SS_NULL, F::HOST_SS_SELECTOR, 0x10);
        this->put(R::HOST_TR_NULL, F::HOST_TR_SELECTOR, 0x18);
    }
};

} // namespace horos::model::vmx
