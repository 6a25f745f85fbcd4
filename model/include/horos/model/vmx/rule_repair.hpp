// The repair of each rule, generic like the predicates, so that "repair makes every state valid" is
// a theorem that Z3 proves (tests/model). One pass, in an order in which a later step never breaks
// what an earlier one mended: controls, then what the guest's mode follows from, then events, then
// what depends on mode and event.
#pragma once

#include "horos/model/vmx/repair_control.hpp"

namespace horos::model::vmx {

// §26.3.1.
template <class D>
class GuestRepair : public HostRepair<D> {
protected:
    using Base = HostRepair<D>;
    using Base::Base;
    using typename Base::E;
    using typename Base::F;
    using typename Base::R;
    using Check = SegmentCheck;

    void mode() {
        const Profile& p = this->p_;
        const uint64_t unchecked = x86::cr0::CD | x86::cr0::NW;
        const uint64_t must = p.cr0_fixed0 & ~unchecked;
        const uint64_t relaxed = must & ~(x86::cr0::PE | x86::cr0::PG);
        const auto old = this->s_[F::GUEST_CR0];
        this->change(
            R::GUEST_CR0, F::GUEST_CR0,
            (old | D::select(this->view().unrestricted(), D::bits(relaxed), D::bits(must))) &
                D::bits(p.cr0_fixed1 | unchecked));
        this->fixed(R::GUEST_CR4, F::GUEST_CR4, p.cr4_fixed0, p.cr4_fixed1);
        this->set(R::GUEST_CET_WP, F::GUEST_CR0, x86::cr0::WP);
        this->set(R::GUEST_IA32E_PG, F::GUEST_CR0, x86::cr0::PG);
        this->set(R::GUEST_IA32E_PAE, F::GUEST_CR4, x86::cr4::PAE);
        this->set(R::GUEST_CR0_PG_PE, F::GUEST_CR0, x86::cr0::PE);
        this->clear(R::GUEST_PCIDE, F::GUEST_CR4, x86::cr4::PCIDE);
        this->address(R::GUEST_CR3, F::GUEST_CR3, 0);
        const auto flags = this->s_[F::GUEST_RFLAGS];
        this->change(R::GUEST_RFLAGS_RESERVED, F::GUEST_RFLAGS,
                     (flags & D::bits(x86::rflags::DEFINED)) | D::bits(x86::rflags::ONE));
        this->clear(R::GUEST_RFLAGS_VM, F::GUEST_RFLAGS, x86::rflags::VM);
    }
    void event() {
        for (RuleId id :
             {R::EVENT_TYPE, R::EVENT_VECTOR_NMI, R::EVENT_VECTOR_EXCEPTION, R::EVENT_VECTOR_OTHER,
              R::EVENT_ERROR_CODE_PRESENT, R::EVENT_ERROR_CODE_ABSENT, R::EVENT_RESERVED}) {
            this->event_off(id);
        }
        this->clear(R::EVENT_ERROR_CODE_HIGH, F::ENTRY_EXCEPTION_ERROR_CODE, 0xffff0000);
        this->clear(R::EVENT_ERROR_CODE_15, F::ENTRY_EXCEPTION_ERROR_CODE, 0x8000);
        this->put(R::EVENT_LENGTH, F::ENTRY_INSTRUCTION_LENGTH, 1);
        this->set(R::GUEST_RFLAGS_IF, F::GUEST_RFLAGS, x86::rflags::IF);
    }
    void msrs() {
        const Profile& p = this->p_;
        this->clear(R::GUEST_DEBUGCTL, F::GUEST_DEBUGCTL, ~p.debugctl_defined);
        this->clear(R::GUEST_DR7, F::GUEST_DR7, HIGH_HALF);
        this->canonical(R::GUEST_SYSENTER_ESP, F::GUEST_SYSENTER_ESP);
        this->canonical(R::GUEST_SYSENTER_EIP, F::GUEST_SYSENTER_EIP);
        this->clear(R::GUEST_PERF_GLOBAL_CTRL, F::GUEST_PERF_GLOBAL_CTRL, ~p.perf_global_defined);
        this->put(R::GUEST_PAT, F::GUEST_PAT, x86::PAT_RESET);
        this->clear(R::GUEST_EFER_RESERVED, F::GUEST_EFER, ~p.efer_defined);
        this->change(R::GUEST_EFER_LMA, F::GUEST_EFER,
                     this->s_[F::GUEST_EFER] ^ D::bits(x86::efer::LMA));
        this->change(R::GUEST_EFER_LME, F::GUEST_EFER,
                     this->s_[F::GUEST_EFER] ^ D::bits(x86::efer::LME));
        this->put(R::GUEST_BNDCFGS, F::GUEST_BNDCFGS, 0);
        this->put(R::GUEST_S_CET, F::GUEST_S_CET, 0);
        this->canonical(R::GUEST_ISST, F::GUEST_ISST_ADDR);
        this->clear(R::GUEST_PKRS, F::GUEST_PKRS, HIGH_HALF);
    }
    void segments() {
        const auto id = [](Segment which, Check check) {
            return horos::vmx::segment_rule(which, check);
        };
        for (Segment which : {Segment::CS, Segment::SS, Segment::ES, Segment::DS, Segment::FS,
                              Segment::GS, Segment::LDTR, Segment::TR}) {
            v86(which);
            rights(which);
            if (which == Segment::SS) {
                ss();
            } else if (which >= Segment::DS && which <= Segment::GS) {
                dpl(which);
            }
        }
        dpl(Segment::ES);
        cs_dpl();
        for (Segment which : {Segment::LDTR, Segment::TR}) {
            this->clear(id(which, Check::SELECTOR_TI), predicates::fields_of(which).selector, 4);
        }
        for (Segment which : {Segment::ES, Segment::CS, Segment::SS, Segment::DS}) {
            this->clear(id(which, Check::BASE_HIGH), predicates::fields_of(which).base, HIGH_HALF);
        }
        for (Segment which : {Segment::FS, Segment::GS, Segment::LDTR, Segment::TR}) {
            this->canonical(id(which, Check::BASE_CANONICAL), predicates::fields_of(which).base);
        }
    }
    void tables() {
        this->canonical(R::GUEST_GDTR_BASE, F::GUEST_GDTR_BASE);
        this->canonical(R::GUEST_IDTR_BASE, F::GUEST_IDTR_BASE);
        this->clear(R::GUEST_GDTR_LIMIT, F::GUEST_GDTR_LIMIT, 0xffff0000);
        this->clear(R::GUEST_IDTR_LIMIT, F::GUEST_IDTR_LIMIT, 0xffff0000);
        this->clear(R::GUEST_RIP_HIGH, F::GUEST_RIP, HIGH_HALF);
        this->canonical(R::GUEST_RIP_CANONICAL, F::GUEST_RIP);
        this->put(R::GUEST_SSP, F::GUEST_SSP, 0);
    }
    void non_register() {
        using namespace horos::vmx::interruptibility;
        constexpr F STATE = F::GUEST_INTERRUPTIBILITY;
        this->clear(R::BLOCKING_RESERVED, STATE, RESERVED);
        this->clear(R::BLOCKING_SMI, STATE, BLOCKING_BY_SMI);
        this->clear(R::BLOCKING_STI_IF, STATE, BLOCKING_BY_STI);
        this->clear(R::BLOCKING_BOTH, STATE, BLOCKING_BY_MOV_SS);
        this->clear(R::BLOCKING_EXTERNAL, STATE, BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
        this->clear(R::BLOCKING_MOV_SS_NMI, STATE, BLOCKING_BY_MOV_SS);
        this->clear(R::BLOCKING_STI_NMI, STATE, BLOCKING_BY_STI);
        this->clear(R::BLOCKING_NMI, STATE, BLOCKING_BY_NMI);
        this->clear(R::BLOCKING_ENCLAVE, STATE, ENCLAVE_INTERRUPTION);
        for (RuleId id :
             {R::ACTIVITY_VALUE, R::ACTIVITY_HLT_DPL, R::ACTIVITY_BLOCKING, R::ACTIVITY_EVENT_HLT,
              R::ACTIVITY_EVENT_SHUTDOWN, R::ACTIVITY_EVENT_SIPI}) {
            this->put(id, F::GUEST_ACTIVITY, 0);
        }
        constexpr F DEBUG = F::GUEST_PENDING_DEBUG;
        this->clear(R::PENDING_RESERVED, DEBUG, horos::vmx::pending_debug::RESERVED);
        this->clear(R::PENDING_RTM, DEBUG, horos::vmx::pending_debug::RTM);
        this->set(R::PENDING_BS_SET, DEBUG, horos::vmx::pending_debug::BS);
        this->clear(R::PENDING_BS_CLEAR, DEBUG, horos::vmx::pending_debug::BS);
        // A transaction's trap and a due single step exclude each other.
        this->clear(R::PENDING_RTM, DEBUG, horos::vmx::pending_debug::RTM);
        for (RuleId id : {R::LINK_ADDRESS, R::LINK_REVISION, R::LINK_SHADOW, R::LINK_CURRENT}) {
            this->put(id, F::VMCS_LINK_POINTER, horos::vmx::NO_LINK_POINTER);
        }
        pdptes(R::PDPTE_FIELDS,
               std::array{F::GUEST_PDPTE0, F::GUEST_PDPTE1, F::GUEST_PDPTE2, F::GUEST_PDPTE3});
        pdptes(R::PDPTE_MEMORY, std::array{E::PDPTE0, E::PDPTE1, E::PDPTE2, E::PDPTE3});
    }

private:
    void v86(Segment which) {
        if (which > Segment::GS) {
            return;
        }
        const auto f = predicates::fields_of(which);
        this->change(segment_rule(which, Check::BASE_V86), f.base,
                     D::shift_left(this->s_[f.selector], D::bits(4)));
        this->put(segment_rule(which, Check::LIMIT_V86), f.limit, 0xffff);
        this->put(segment_rule(which, Check::RIGHTS_V86), f.rights, 0xf3);
    }
    static uint64_t usual_type(Segment which) {
        return which == Segment::CS || which == Segment::TR ? 11 : which == Segment::LDTR ? 2 : 3;
    }
    void rights(Segment which) {
        namespace r = horos::vmx::rights;
        const auto f = predicates::fields_of(which);
        const auto id = [which](Check check) { return segment_rule(which, check); };
        this->change(id(Check::TYPE), f.rights,
                     (this->s_[f.rights] & ~D::bits(r::TYPE)) | D::bits(usual_type(which)));
        this->change(id(Check::S), f.rights, this->s_[f.rights] ^ D::bits(r::S));
        this->set(id(Check::P), f.rights, r::P);
        this->clear(id(Check::RESERVED_LOW), f.rights, r::RESERVED_LOW);
        this->clear(id(Check::RESERVED_HIGH), f.rights,
                    which == Segment::TR ? r::RESERVED_HIGH | r::UNUSABLE : r::RESERVED_HIGH);
        if (which == Segment::CS) {
            this->clear(id(Check::DB), f.rights, r::DB);
        }
        const auto wrong = this->broken(id(Check::G));
        auto& limit = this->s_[f.limit];
        const auto high = View<D>::has(limit, 0xfff00000);
        limit = D::select(wrong & high, limit | D::bits(0xfff), limit);
        auto& bits = this->s_[f.rights];
        bits = D::select(wrong, D::select(high, bits | D::bits(r::G), bits & ~D::bits(r::G)), bits);
    }
    void put_dpl(RuleId id, F rights, const typename D::Bits& dpl) {
        namespace r = horos::vmx::rights;
        this->change(id, rights,
                     (this->s_[rights] & ~D::bits(r::DPL)) |
                         D::shift_left(dpl, D::bits(r::DPL_SHIFT)));
    }
    void ss() {
        const auto f = predicates::fields_of(Segment::SS);
        const auto cs_rpl = this->s_[F::GUEST_CS_SELECTOR] & D::bits(3);
        this->change(segment_rule(Segment::SS, Check::SELECTOR_RPL), f.selector,
                     (this->s_[f.selector] & ~D::bits(3)) | cs_rpl);
        put_dpl(segment_rule(Segment::SS, Check::DPL), f.rights, this->s_[f.selector] & D::bits(3));
        this->clear(segment_rule(Segment::SS, Check::DPL_REAL), f.rights, horos::vmx::rights::DPL);
    }
    void dpl(Segment which) {
        const auto f = predicates::fields_of(which);
        put_dpl(segment_rule(which, Check::DPL), f.rights, this->s_[f.selector] & D::bits(3));
    }
    void cs_dpl() {
        const auto v = this->view();
        const predicates::SegmentView<D> cs{v, Segment::CS};
        const predicates::SegmentView<D> ss_view{v, Segment::SS};
        const auto wanted = D::select(v.is(cs.type(), 3), D::bits(0), ss_view.dpl());
        put_dpl(segment_rule(Segment::CS, Check::DPL), F::GUEST_CS_RIGHTS, wanted);
    }
    template <class I>
    void pdptes(RuleId id, std::array<I, 4> entries) {
        const auto wrong = this->broken(id);
        for (I entry : entries) {
            const auto bad = !predicates::pdpte_valid(this->view(), this->s_[entry]);
            auto& value = this->s_[entry];
            value = D::select(wrong & bad, value & ~D::bits(x86::pte::P), value);
        }
    }
};

template <class D>
class Repairer : public GuestRepair<D> {
public:
    Repairer(RuleInputs<D> state, const Profile& profile, RuleSet skip = {})
        : GuestRepair<D>(std::move(state), profile, skip) {}

    RuleInputs<D> run() {
        this->instruction();
        this->reserved();
        this->dependencies();
        this->host_size();
        this->values();
        this->host();
        this->mode();
        this->event();
        this->msrs();
        this->segments();
        this->tables();
        this->non_register();
        return this->s_;
    }
};

} // namespace horos::model::vmx
