// Properties over random machines (RapidCheck).
#include "guest_builder.hpp"
#include "horos/model/svm/fields.hpp"
#include "horos/model/svm/rules.hpp"
#include "z3_domain.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace horos::model::svm::test {
namespace {

const Profile& any_profile() {
    const auto profiles = builtin_profiles();
    return profiles[*rc::gen::inRange<size_t>(0, profiles.size())];
}

uint64_t width_mask(const RuleFieldInfo& field) {
    return field.bytes == 8 ? ~0ull : (1ull << (8 * field.bytes)) - 1;
}

// Mostly near a legal state, where the boundaries are: a legal state with a few flipped bits, or
// fields that are random altogether.
RuleState any_state(const Params& params) {
    RuleState state;
    const bool wild = *rc::gen::inRange(0, 4) == 0;
    for (const RuleFieldInfo& field : rule_fields()) {
        state[field.field] = *rc::gen::arbitrary<uint64_t>() & width_mask(field);
    }
    if (!wild) {
        state = repair(state, params);
        const int flips = *rc::gen::inRange(0, 5);
        for (int i = 0; i < flips; ++i) {
            const RuleFieldInfo& field =
                rule_fields()[*rc::gen::inRange<size_t>(0, RULE_FIELD_COUNT)];
            state[field.field] ^= 1ull << *rc::gen::inRange(0, field.bytes * 8);
        }
    }
    return state;
}

void check(const char* what, const std::function<void()>& property) {
    EXPECT_TRUE(rc::check(what, property));
}

TEST(Property, ConcreteAndSymbolicReadingOfEveryRuleAgree) {
    z3::context context;
    const Symbolic::Scope scope(context);
    check("each rule's formula, with numbers put in, is what the code computes", [&] {
        const Params params(any_profile());
        const RuleState state = any_state(params);
        SymbolicInputs in;
        for (const RuleFieldInfo& field : rule_fields()) {
            in[field.field] = Symbolic::bits(state[field.field]);
        }
        for (const RuleInfo& rule : all_rules()) {
            const z3::expr value = evaluate_rule<Symbolic>(rule.id, in, params).e.simplify();
            RC_ASSERT(value.is_true() || value.is_false());
            RC_ASSERT(value.is_true() == rule_holds(rule.id, state, params));
        }
    });
}

TEST(Property, RepairIsValidAndIdempotent) {
    check("repair breaks no rule and leaves its own result alone", [] {
        const Params params(any_profile());
        const RuleState mended = repair(any_state(params), params);
        RC_ASSERT(broken_rules(mended, params).none());
        RC_ASSERT(repair(mended, params).value == mended.value);
    });
}

TEST(Property, RepairExceptBreaksNoRuleThatHeld) {
    check("all but the kept rule are mended", [] {
        const Params params(any_profile());
        const RuleState state = any_state(params);
        const RuleInfo& kept = all_rules()[*rc::gen::inRange<size_t>(0, all_rules().size())];
        const RuleSet left = broken_rules(repair_except(state, params, kept.id), params);
        RuleSet only;
        only.set(static_cast<size_t>(kept.id));
        // A rule that reads the same field as the kept one can stay broken with it.
        for (const RuleInfo& rule : all_rules()) {
            if (left[static_cast<size_t>(rule.id)] && rule.id != kept.id) {
                bool shares = false;
                for (const RuleField a : rule.fields) {
                    for (const RuleField b : kept.fields) {
                        shares = shares || a == b;
                    }
                }
                RC_ASSERT(shares);
            }
        }
    });
}

TEST(Property, ApplyAndExtractAreInverse) {
    check("what is written into a VMCB and host is read back", [] {
        GuestBuilder g;
        g.machine.profile = &any_profile();
        const Params params(*g.machine.profile);
        RuleState state = any_state(params);
        apply(state, g.vmcb(), g.machine.host);
        const RuleState back = extract(g.machine);
        for (const RuleFieldInfo& field : rule_fields()) {
            if (field.place != FieldPlace::MEMORY) {
                RC_ASSERT(back[field.field] == state[field.field]);
            }
        }
    });
}

// The heart of it: the prediction enters exactly if all rules hold; MAY rules leave it open.
TEST(Property, EntrySucceedsExactlyIfAllRulesHold) {
    check("kind of outcome follows from the set of broken rules", [] {
        GuestBuilder g;
        g.machine.profile = &any_profile();
        apply(any_state(Params(*g.machine.profile)), g.vmcb(), g.machine.host);
        const Prediction p = predict(g.machine);
        bool must_fault = false, must_invalid = false, may = false;
        for (const RuleInfo& rule : all_rules()) {
            if (p.broken[static_cast<size_t>(rule.id)]) {
                const bool must = rule.strength == Strength::MUST;
                must_fault = must_fault || (must && rule.outcome == OutcomeKind::FAULT);
                must_invalid = must_invalid || (must && rule.outcome == OutcomeKind::INVALID);
                may = may || !must;
            }
        }
        bool entered = false, refused = false;
        for (const Outcome& out : p.allowed) {
            const bool refusal = out.kind == OutcomeKind::FAULT || out.kind == OutcomeKind::INVALID;
            (refusal ? refused : entered) = true;
        }
        RC_ASSERT(entered == (!must_fault && !must_invalid));
        RC_ASSERT(refused == (must_fault || must_invalid || may));
    });
}

// A random program over a valid guest: whatever happens, the prediction is well-formed.
std::vector<uint8_t> any_program() {
    static const std::vector<std::vector<uint8_t>> PIECES = {
        {0x0f, 0xa2},             // cpuid
        {0x0f, 0x31},             // rdtsc
        {0x0f, 0x32},             // rdmsr
        {0x0f, 0x30},             // wrmsr
        {0xf4},                   // hlt
        {0xfa},                   // cli
        {0xfb},                   // sti
        {0xcc},                   // int3
        {0xcd, 0x20},             // int 0x20
        {0x9c},                   // pushf
        {0x9d},                   // popf
        {0x0f, 0x20, 0xc0},       // mov rax, cr0
        {0x0f, 0x22, 0xd8},       // mov cr3, rax
        {0x0f, 0x22, 0xe0},       // mov cr4, rax
        {0x44, 0x0f, 0x22, 0xc0}, // mov cr8, rax
        {0x0f, 0x23, 0xf8},       // mov dr7, rax
        {0xe4, 0x70},             // in al, 0x70
        {0x6e},                   // outsb
        {0x0f, 0x01, 0xd8},       // vmrun
        {0x0f, 0x01, 0xdc},       // stgi
        {0x0f, 0x01, 0xdd},       // clgi
        {0x0f, 0x06},             // clts
        {0x0f, 0x0b},             // ud2
        {0x48, 0x8b, 0x00},       // mov rax, [rax]
        {0x48, 0x89, 0x03},       // mov [rbx], rax
        {0x50},                   // push rax
        {0xf3, 0x90},             // pause
        {0x0f, 0x01, 0x38},       // invlpg [rax]
        {0x48, 0xcf},             // iretq
    };
    std::vector<uint8_t> code;
    const int count = *rc::gen::inRange(1, 5);
    for (int i = 0; i < count; ++i) {
        const auto& piece = PIECES[*rc::gen::inRange<size_t>(0, PIECES.size())];
        code.insert(code.end(), piece.begin(), piece.end());
    }
    return code;
}

void any_guest(GuestBuilder& g) {
    g.machine.profile = &any_profile();
    const std::vector<uint8_t> program = any_program();
    std::copy(program.begin(), program.end(), &g.ram[g.CODE]);
    const uint8_t end[] = {0x0f, 0x01, 0xd9};
    std::memcpy(&g.ram[g.CODE + program.size()], end, 3);
    g.control().intercept_misc1 = *rc::gen::arbitrary<uint32_t>();
    g.control().intercept_misc2 |= *rc::gen::arbitrary<uint32_t>() & 0x3fff;
    g.control().intercept_exceptions = *rc::gen::arbitrary<uint32_t>();
    g.control().intercept_cr = *rc::gen::arbitrary<uint32_t>();
    g.control().intercept_dr = *rc::gen::arbitrary<uint32_t>();
    g.control().int_ctl = *rc::gen::arbitrary<uint32_t>() & 0x031f01ff;
    g.control().v_intr_vector = *rc::gen::arbitrary<uint8_t>();
    g.control().int_state = *rc::gen::inRange<uint64_t>(0, 2);
    g.save().rax = *rc::gen::element<uint64_t>(0, 1, 0x50000, 0x400000, 0x8000000000000000ull);
    g.save().rflags |= *rc::gen::arbitrary<uint32_t>() & 0x00007fd5;
    if (*rc::gen::arbitrary<bool>()) {
        g.cpl3();
    }
    if (*rc::gen::arbitrary<bool>()) {
        g.nested_paging();
    }
    g.machine.guest.gpr[static_cast<size_t>(Gpr::RBX)] =
        *rc::gen::element<uint64_t>(0x50000, 0x20000, 0x32000);
    if (*rc::gen::arbitrary<bool>()) {
        g.machine.pending.intr = 0x30;
    }
    g.machine.pending.nmi = *rc::gen::arbitrary<bool>();
}

TEST(Property, PredictionIsDeterministicAndItsOwnOutcomesAreAllowed) {
    check("an observation made from a predicted outcome has no differences", [] {
        GuestBuilder g;
        any_guest(g);
        const Prediction p = predict(g.machine);
        const Prediction again = predict(g.machine);
        RC_ASSERT(!p.allowed.empty());
        RC_ASSERT(p.allowed.size() == again.allowed.size());
        for (size_t i = 0; i < p.allowed.size(); ++i) {
            const Outcome& out = p.allowed[i];
            RC_ASSERT(out.kind == again.allowed[i].kind);
            RC_ASSERT(out.vmcb.value == again.allowed[i].vmcb.value);
            if (out.kind != OutcomeKind::EXIT) {
                continue;
            }
            auto vmcb = std::make_unique<Vmcb>();
            std::memcpy(static_cast<void*>(vmcb.get()), out.vmcb.value.data(), 4096);
            Observation seen;
            seen.vmcb = vmcb.get();
            seen.gpr.emplace();
            for (size_t r = 0; r < 16; ++r) {
                // Undefined bits may be anything.
                (*seen.gpr)[r] = out.gpr[r].value ^ (~out.gpr[r].known & 0x5a5a5a5a5a5a5a5aull);
            }
            seen.changed = out.writes;
            RC_ASSERT(compare(p, g.machine, seen).empty());
        }
    });
}

// Arbitrary bytes as code, in every mode, with arbitrary registers: predict() ends and says
// something.
TEST(Property, AnyCodeInAnyModeIsPredicted) {
    check("predict returns at least one outcome and never throws", [] {
        GuestBuilder g;
        any_guest(g);
        const int mode = *rc::gen::inRange(0, 4);
        if (mode == 1) {
            g.protected32();
        } else if (mode == 2) {
            g.real_mode();
        } else if (mode == 3) {
            g.save().cs.attributes = x86::seg::CODE32; // compatibility mode
        }
        for (int i = 0; i < 24; ++i) {
            g.ram[g.CODE + i] = *rc::gen::arbitrary<uint8_t>();
        }
        for (size_t r = 1; r < 16; ++r) {
            g.machine.guest.gpr[r] = *rc::gen::weightedOneOf<uint64_t>(
                {{3, rc::gen::inRange<uint64_t>(0, GuestBuilder::SIZE)},
                 {1, rc::gen::arbitrary<uint64_t>()}});
        }
        const uint64_t raw = *rc::gen::arbitrary<uint64_t>();
        g.control().event_inj = *rc::gen::inRange(0, 3) == 0 ? raw & ~0x7ffff000ull : 0;
        RC_ASSERT(!predict(g.machine).allowed.empty());
    });
}

// What VMRUN never writes is the same after any exit (§15.5.1, §15.6).
TEST(Property, ControlInputsAndReservedBytesSurviveEveryExit) {
    check("fields that are inputs only are unchanged", [] {
        GuestBuilder g;
        any_guest(g);
        const auto* before = reinterpret_cast<const uint8_t*>(&g.vmcb());
        for (const Outcome& out : predict(g.machine).allowed) {
            if (out.kind != OutcomeKind::EXIT) {
                continue;
            }
            for (const FieldInfo& field : vmcb_fields()) {
                const bool input = field.use == FieldUse::IN || field.use == FieldUse::EXTRA;
                for (unsigned i = 0; input && i < field.bytes; ++i) {
                    RC_ASSERT(out.vmcb.value[field.offset + i] == before[field.offset + i]);
                }
            }
        }
    });
}

// Each exit code is one that the intercepts ask for.
TEST(Property, ExitsAreIntercepted) {
    check("no exit without its intercept bit", [] {
        GuestBuilder g;
        any_guest(g);
        for (const Outcome& out : predict(g.machine).allowed) {
            if (out.kind != OutcomeKind::EXIT) {
                continue;
            }
            const auto code = static_cast<uint64_t>(out.exit_code);
            const uint32_t words[] = {g.control().intercept_cr, g.control().intercept_dr,
                                      g.control().intercept_exceptions, g.control().intercept_misc1,
                                      g.control().intercept_misc2};
            if (code < 0xa0) {
                RC_ASSERT((words[code / 32] >> (code % 32) & 1) != 0);
            } else {
                RC_ASSERT(out.exit_code == ExitCode::NPF);
            }
        }
    });
}

} // namespace
} // namespace horos::model::svm::test
