// What is written into a VMCS. Its fields change by VMWRITE alone, so what is shown of each write
// is true of the fields once they have been written, which vcpu_create does with all of them.
#include "kernel/vmx/vmx.hpp"
#include "vmx.hpp"

namespace horos::proofs::vmx {

namespace {

using F = horos::vmx::Field;
namespace mandatory = core::mandatory_vmx;

struct Mandatory {
    F field;
    uint64_t bits;
};
constexpr Mandatory always[] = {
    {F::PIN_CONTROLS, mandatory::pin_controls},       {F::PROC_CONTROLS, mandatory::proc_controls},
    {F::PROC_CONTROLS_2, mandatory::proc_controls_2}, {F::EXIT_CONTROLS, mandatory::exit_controls},
    {F::ENTRY_CONTROLS, mandatory::entry_controls},   {F::EXCEPTION_BITMAP, mandatory::exceptions},
};
// Written at the creation of a VMCS; the primary controls follow at each entry (arm).
bool at_creation(F field) { return field != F::PROC_CONTROLS; }

uint64_t number_of(F field) { return horos::vmx::encoding(field); }
// SDM vol. 3C appendix B: bits 11:10 of an encoding are the group; 3 is the host's state.
bool is_host_state(uint64_t field) { return (field >> 10 & 3) == 3; }

// Whether a VMM's page has a part in a value.
bool is_of_page(Term t, std::set<Term>& seen) {
    if (!seen.insert(t).second || Z3_get_ast_kind(context(), t) != Z3_APP_AST)
        return false;
    const Z3_app app = Z3_to_app(context(), t);
    const Z3_func_decl decl = Z3_get_app_decl(context(), app);
    if (Z3_get_decl_kind(context(), decl) == Z3_OP_UNINTERPRETED) {
        const std::string name = Z3_get_symbol_string(context(), Z3_get_decl_name(context(), decl));
        if (name.find("state_pages") != std::string::npos)
            return true;
    }
    for (unsigned i = 0; i < Z3_get_app_num_args(context(), app); ++i) {
        if (is_of_page(Z3_get_app_arg(context(), app, i), seen))
            return true;
    }
    return false;
}

struct Writes {
    Step& step;
    Result& result;
    Term vcpu;

    Term of(const char* table, const char* path, Term row) {
        return step.kernel.field(table, path, {row}, step.now);
    }
    void must(const std::string& what, const Event& e, Term holds) {
        step.goal(result, what, land(e.guard.term(), lnot(holds)));
    }
    Term frame_address(Term frame) { return shl(zext(frame, 64), num(64, 12)); }

    void mandatory_bits(const Event& e, uint64_t field) {
        const Term value = e.arguments[1].bits;
        for (const Mandatory& m : always) {
            if (number_of(m.field) == field)
                must("a mandatory control is off: field " + std::to_string(field), e,
                     eq(band(value, num(64, m.bits)), num(64, m.bits)));
        }
    }
    // Only at an entry: the state of its space and tag is that before the guest runs.
    void of_space(const Event& e, uint64_t field) {
        if (vcpu == nullptr || e.arguments.size() < 4)
            return;
        const Term value = e.arguments[1].bits;
        const Term tag = e.arguments[3].bits;
        World& old = step.kernel.old;
        const auto in = [&](const char* table, const char* path, Term row) {
            return step.kernel.field(table, path, {row}, old);
        };
        const Term space = in("vcpus", "[].space", vcpu);
        const auto map = [&](const char* own, const char* usual) {
            const Term f = in("spaces", own, space);
            const Term m = step.kernel.field("machine", usual, {}, old);
            return ite(eq(f, num(32, 0)), m, f);
        };
        if (field == number_of(F::EPTP))
            must("EPTP is not the space's", e,
                 eq(value, bor(frame_address(in("spaces", "[].root", space)),
                               num(64, horos::vmx::eptp::TYPE_WB | horos::vmx::eptp::WALK_4))));
        if (field == number_of(F::VPID))
            must("VPID is not its own tag", e,
                 land({eq(value, zext(tag, 64)), lnot(eq(tag, num(32, 0))),
                       ult(tag, step.kernel.field("machine", ".tlb_tags", {}, old))}));
        if (field == number_of(F::IO_BITMAP_A))
            must("I/O bitmap A is not its space's", e,
                 eq(value, frame_address(map("[].io_map", ".io_map"))));
        if (field == number_of(F::IO_BITMAP_B))
            must("I/O bitmap B is not its space's", e,
                 eq(value, frame_address(add(map("[].io_map", ".io_map"), num(32, 1)))));
        if (field == number_of(F::MSR_BITMAP)) {
            const Term first = map("[].msr_map", ".msr_map");
            must("MSR bitmap is not its space's", e,
                 lor(eq(value, frame_address(first)),
                     eq(value, frame_address(add(first, num(32, 1))))));
        }
    }
    void loaded(const Event& e) {
        const Term own = step.kernel.field("vcpus", "[].control", {vcpu}, step.kernel.old);
        must("another VMCS is loaded", e, eq(e.arguments[0].bits, frame_address(own)));
    }
    void one(const Event& e) {
        const auto field = constant(e.arguments[0].bits);
        if (!field) {
            result.verdict = Verdict::unknown;
            result.details.push_back("unknown: a VMWRITE of a field that is not known");
            return;
        }
        mandatory_bits(e, *field);
        of_space(e, *field);
        if (vcpu != nullptr && e.arguments.size() > 2)
            must("another VMCS is written", e,
                 eq(e.arguments[2].bits,
                    step.kernel.field("vcpus", "[].control", {vcpu}, step.kernel.old)));
        std::set<Term> seen;
        if (is_host_state(*field))
            must("the host's state depends on a VMM's page: field " + std::to_string(*field), e,
                 truth(!is_of_page(e.arguments[1].bits, seen)));
    }
};

} // namespace

Result writes(Step& step, Term vcpu) {
    Result result = begin(step);
    result.bound = std::to_string(step.outcome.steps) + " instructions";
    Writes w{step, result, vcpu};
    std::map<uint64_t, std::vector<Term>> written;
    for (const Event& e : step.engine.events) {
        if (e.name == "vmx_load" && vcpu != nullptr)
            w.loaded(e);
        if (e.name != "vmx_write")
            continue;
        w.one(e);
        if (const auto field = constant(e.arguments[0].bits))
            written[*field].push_back(e.guard.term());
    }
    if (vcpu != nullptr && consistent(step.assumptions, step.over(),
                                      step.settings.limits.milliseconds) != Verdict::proved) {
        result.verdict = Verdict::unknown;
        result.details.push_back("vacuous: it cannot be shown to return");
    }
    if (written.empty()) {
        result.verdict = Verdict::unknown;
        result.details.push_back("vacuous: nothing is written");
    }
    if (vcpu == nullptr) { // a fresh VMCS has all of them
        const Term any = named_bits("any", 32);
        const auto is_vcpu = [&](World& world) {
            return eq(step.kernel.frame_type(any, world),
                      num(8, static_cast<uint64_t>(ObjectType::vcpu)));
        };
        const Term made = land({step.over(), lnot(is_vcpu(step.kernel.old)), is_vcpu(step.now)});
        for (const Mandatory& m : always) {
            if (at_creation(m.field))
                step.goal(result, "not written: field " + std::to_string(number_of(m.field)),
                          land(made, lnot(lor(written[number_of(m.field)]))));
        }
        if (consistent(step.assumptions, made, step.settings.limits.milliseconds) !=
            Verdict::proved) {
            result.verdict = Verdict::unknown;
            result.details.push_back("vacuous: none is made");
        }
    }
    finish(result);
    return result;
}

} // namespace horos::proofs::vmx
