// The repair of each rule, generic like the predicates, so that "repair makes every state valid"
// is a theorem that Z3 proves (tests/model). One pass, in an order in which a later step never
// breaks what an earlier one mended.
#pragma once

#include "horos/model/svm/rule_predicates.hpp"

namespace horos::model::svm {

template <class D>
class Repairer {
public:
    using Bits = typename D::Bits;
    using Bool = typename D::Bool;
    using F = RuleField;

    Repairer(RuleInputs<D> state, const Params& params, RuleSet skip = {})
        : s_(std::move(state)), p_(params), skip_(skip) {}

    RuleInputs<D> run() {
        instruction();
        efer_and_cr();
        sev();
        nested();
        control();
        events();
        state();
        return s_;
    }

private:
    Bool broken(RuleId id) const {
        return skip_[static_cast<size_t>(id)] ? D::truth(false) : !evaluate_rule<D>(id, s_, p_);
    }
    void change(RuleId id, F field, const Bits& value) {
        s_[field] = D::select(broken(id), value, s_[field]);
    }
    void set(RuleId id, F field, uint64_t mask) { change(id, field, s_[field] | D::bits(mask)); }
    void clear(RuleId id, F field, uint64_t mask) { change(id, field, s_[field] & ~D::bits(mask)); }
    void put(RuleId id, F field, uint64_t value) { change(id, field, D::bits(value)); }

    void instruction() {
        set(RuleId::INSN_SVME, F::HOST_EFER, x86::efer::SVME);
        const Bool mode = broken(RuleId::INSN_PROTECTED_MODE);
        s_[F::HOST_CR0] = D::select(mode, s_[F::HOST_CR0] | D::bits(x86::cr0::PE), s_[F::HOST_CR0]);
        s_[F::HOST_RFLAGS] =
            D::select(mode, s_[F::HOST_RFLAGS] & ~D::bits(x86::rflags::VM), s_[F::HOST_RFLAGS]);
        put(RuleId::INSN_CPL0, F::HOST_CPL, 0);
        clear(RuleId::INSN_RAX_ALIGNED, F::RAX, predicates::PAGE_OFFSET);
        clear(RuleId::INSN_RAX_PHYS, F::RAX, ~(p_.physical_limit - 1));
        put(RuleId::INSN_HSAVE_SET, F::HOST_VM_HSAVE_PA, 0x1000);
    }
    // What the guest's mode depends on, before everything that reads the mode.
    void efer_and_cr() {
        set(RuleId::SAVE_EFER_SVME, F::EFER, x86::efer::SVME);
        clear(RuleId::SAVE_EFER_MBZ, F::EFER, p_.efer_mbz);
        clear(RuleId::SAVE_EFER_LONG_MODE, F::EFER, x86::efer::LME | x86::efer::LMA);
        clear(RuleId::SAVE_CR0_CD_NW, F::CR0, x86::cr0::NW);
        clear(RuleId::SAVE_CR0_HIGH, F::CR0, x86::cr0::MBZ_HIGH);
        clear(RuleId::SAVE_CR4_MBZ, F::CR4, p_.cr4_mbz);
        set(RuleId::SAVE_LME_PG_PAE, F::CR4, x86::cr4::PAE);
        set(RuleId::SAVE_LME_PG_PE, F::CR0, x86::cr0::PE);
    }
    void sev() {
        for (RuleId id : {RuleId::CTL_SEV_NP, RuleId::CTL_SEV_SMMLOCK, RuleId::CTL_SEV_ASID,
                          RuleId::CTL_SEV_64BIT_HOST}) {
            clear(id, F::NESTED_CTL, horos::svm::nested_ctl::SEV_ENABLE);
        }
    }
    void nested() {
        // Without host paging neither nested paging nor, then, SEV can be on.
        const Bool no_paging = broken(RuleId::CTL_NP_HOST_PAGING);
        constexpr uint64_t NESTED =
            horos::svm::nested_ctl::NP_ENABLE | horos::svm::nested_ctl::SEV_ENABLE;
        s_[F::NESTED_CTL] =
            D::select(no_paging, s_[F::NESTED_CTL] & ~D::bits(NESTED), s_[F::NESTED_CTL]);
        clear(RuleId::CTL_NP_NCR3_MBZ, F::NESTED_CR3, predicates::ABOVE_52_BITS);
        clear(RuleId::CTL_NP_NCR3_PHYS, F::NESTED_CR3, beyond_physical());
        put(RuleId::CTL_NP_GPAT, F::G_PAT, x86::PAT_RESET);
    }
    void control() {
        set(RuleId::CTL_VMRUN_INTERCEPT, F::INTERCEPT_MISC2, bit(horos::svm::Misc2::VMRUN));
        put(RuleId::CTL_ASID, F::GUEST_ASID, 1);
        put(RuleId::CTL_ASID_RANGE, F::GUEST_ASID, 1);
        put(RuleId::CTL_IOPM_RANGE, F::IOPM_BASE_PA, 0);
        put(RuleId::CTL_MSRPM_RANGE, F::MSRPM_BASE_PA, 0);
        set(RuleId::CTL_VNMI_NMI_INTERCEPT, F::INTERCEPT_MISC1, bit(horos::svm::Misc1::NMI));
        clear(RuleId::CTL_X2AVIC_AVIC, F::INT_CTL, horos::svm::int_ctl::X2AVIC_ENABLE);
        const Bool pages = broken(RuleId::CTL_AVIC_ADDRESSES);
        for (F field : {F::AVIC_BACKING_PAGE, F::AVIC_LOGICAL_TABLE, F::AVIC_PHYSICAL_TABLE}) {
            const Bool outside = !predicates::page_in_range<D>(s_[field], p_);
            s_[field] =
                D::select(pages & outside, s_[field] & D::bits(p_.physical_limit - 1), s_[field]);
        }
        clear(RuleId::CTL_AVIC_MAX_INDEX, F::AVIC_PHYSICAL_TABLE, 0xf00);
    }
    void events() {
        for (RuleId id :
             {RuleId::CTL_EVENT_TYPE, RuleId::CTL_EVENT_VECTOR, RuleId::CTL_EVENT_VECTOR_FEATURE,
              RuleId::CTL_EVENT_MODE, RuleId::CTL_EVENT_MODE_OF}) {
            clear(id, F::EVENT_INJ, horos::svm::event::VALID);
        }
    }
    void state() {
        clear(RuleId::SAVE_CS_L_D, F::CS_ATTRIBUTES, x86::seg::DB);
        clear(RuleId::SAVE_S_CET_MBZ, F::S_CET, p_.s_cet_mbz);
        clear(RuleId::SAVE_CET_SS_VM, F::CR4, x86::cr4::CET);
        set(RuleId::SAVE_CR4_CET_WP, F::CR0, x86::cr0::WP);
        clear(RuleId::SAVE_CR3_MBZ, F::CR3, predicates::ABOVE_52_BITS);
        const Bits limit = D::select(predicates::guest_lme_pg<D>(s_), D::bits(beyond_physical()),
                                     D::bits(0xffffffff00000000ull));
        change(RuleId::SAVE_CR3_PHYS, F::CR3, s_[F::CR3] & ~limit);
        clear(RuleId::SAVE_DR6_HIGH, F::DR6, x86::dr6::MBZ_HIGH);
        clear(RuleId::SAVE_DR7_HIGH, F::DR7, x86::dr7::MBZ_HIGH);
        const Bool pdpes = broken(RuleId::SAVE_PAE_PDPES);
        for (F field : {F::PDPE0, F::PDPE1, F::PDPE2, F::PDPE3}) {
            const Bool bad = !predicates::pdpe_valid<D>(s_[field], p_);
            s_[field] = D::select(pdpes & bad, s_[field] & ~D::bits(x86::pte::P), s_[field]);
        }
    }
    uint64_t beyond_physical() const { return ~(p_.physical_limit - 1) & x86::cr3::ADDR_4K_MASK; }

    RuleInputs<D> s_;
    const Params& p_;
    RuleSet skip_;
};

} // namespace horos::model::svm
