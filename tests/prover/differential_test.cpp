// The engine against the machine: each snippet is executed symbolically once, and its result, the
// state it leaves and its obligations, at random inputs, are compared with running it.
#include "proofs/engine/execute.hpp"
#include "proofs/engine/query.hpp"
#include "snippets/snippets.hpp"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <llvm/IRReader/IRReader.h>
#include <llvm/Support/SourceMgr.h>
#include <random>

namespace horos::proofs {
namespace {

using snippets::Row;
using snippets::u32;
using snippets::u64;

extern "C" Row rows[snippets::row_count];
extern "C" u32 word;

uint64_t seed() {
    // RC_PARAMS="seed=N ...", as for the other random tests.
    const char* text = std::getenv("RC_PARAMS");
    const char* at = text != nullptr ? std::strstr(text, "seed=") : nullptr;
    return at != nullptr ? std::strtoull(at + 5, nullptr, 10) : 1;
}

struct Loaded {
    llvm::LLVMContext context;
    Program program;
};

std::unique_ptr<Loaded> load(const std::string& path) {
    auto all = std::make_unique<Loaded>();
    llvm::SMDiagnostic problem;
    all->program.modules.push_back(llvm::parseIRFile(path, problem, all->context));
    if (!all->program.modules[0])
        throw std::runtime_error(path + ": " + problem.getMessage().str());
    return all;
}

void fill_rows(std::mt19937_64& random) {
    for (Row& r : rows) {
        r.wide = random();
        r.half = static_cast<u32>(random());
        r.kind = random() & 3;
        for (auto& b : r.bytes)
            b = static_cast<snippets::u8>(random());
    }
    word = static_cast<u32>(random());
}

u64 native(const Leaf& leaf, const std::vector<u64>& at) {
    u64 offset = leaf.offset;
    for (size_t i = 0; i < at.size(); ++i)
        offset += at[i] * leaf.strides[i];
    const char* base = leaf.object->name == "rows" ? reinterpret_cast<const char*>(rows)
                                                   : reinterpret_cast<const char*>(&word);
    u64 value = 0;
    std::memcpy(&value, base + offset, leaf.width / 8);
    return value;
}

// All index tuples of a leaf.
std::vector<std::vector<u64>> places(const Leaf& leaf) {
    std::vector<std::vector<u64>> all{{}};
    for (const u64 count : leaf.counts) {
        std::vector<std::vector<u64>> longer;
        for (const auto& p : all) {
            for (u64 i = 0; i < count; ++i) {
                longer.push_back(p);
                longer.back().push_back(i);
            }
        }
        all = std::move(longer);
    }
    return all;
}

std::vector<Term> terms(const std::vector<u64>& at) {
    std::vector<Term> all;
    for (const u64 i : at)
        all.push_back(num(32, i));
    return all;
}

struct Executed {
    explicit Executed(Loaded& loaded, llvm::Function& f)
        : objects(f.getParent()->getDataLayout()), engine(objects, world, policy) {
        (void)loaded;
        policy.feasible = [](const Guard& guard) {
            return consistent({}, guard.term(), 2000) != Verdict::refuted;
        };
        std::vector<Value> arguments;
        for (const char* name : {"a", "b", "c"})
            arguments.push_back(Value::of(named_bits(name, 64)));
        outcome = engine.run(f, arguments, Guard());
    }
    Objects objects;
    World world;
    Policy policy;
    Executor engine;
    Outcome outcome;
};

// A model with these arguments and the rows as they are natively.
Z3_model model_of(const Executed& e, u64 a, u64 b, u64 c) {
    Z3_solver solver = Z3_mk_simple_solver(context());
    Z3_solver_inc_ref(context(), solver);
    const auto is = [&](Term t, Term v) { Z3_solver_assert(context(), solver, eq(t, v)); };
    Z3_solver_assert(context(), solver, Z3_mk_eq(context(), named_bits("a", 64), num(64, a)));
    Z3_solver_assert(context(), solver, Z3_mk_eq(context(), named_bits("b", 64), num(64, b)));
    Z3_solver_assert(context(), solver, Z3_mk_eq(context(), named_bits("c", 64), num(64, c)));
    for (const auto& object : e.objects.all()) {
        if (object->storage != Storage::table)
            continue;
        for (const auto& [key, leaf] : object->leaves) {
            for (const auto& at : places(*leaf))
                is(horos::proofs::apply(leaf->base, terms(at)),
                   num(leaf->width, native(*leaf, at)));
        }
    }
    EXPECT_EQ(Z3_solver_check(context(), solver), Z3_L_TRUE);
    Z3_model m = Z3_solver_get_model(context(), solver);
    Z3_model_inc_ref(context(), m);
    Z3_solver_dec_ref(context(), solver);
    return m;
}

Term value(Z3_model m, Term t) {
    Term out = nullptr;
    return Z3_model_eval(context(), m, t, true, &out) ? out : t;
}

void compare(const Executed& e, const std::string& name, bool traps, std::mt19937_64& random) {
    auto* run = reinterpret_cast<snippets::Function>(dlsym(RTLD_DEFAULT, name.c_str()));
    ASSERT_NE(run, nullptr) << name;
    const std::string short_name = name.substr(std::string("snippet_").size());
    auto* undefined = reinterpret_cast<snippets::Predicate>(
        dlsym(RTLD_DEFAULT, ("undefined_" + short_name).c_str()));
    for (int round = 0; round < 3; ++round) {
        const u64 mask = round < 1 ? 0xf : round < 2 ? 0xffff'ffff : ~u64{0};
        const u64 a = random() & mask, b = random() & mask, c = random() & mask;
        fill_rows(random);
        Z3_model m = model_of(e, a, b, c);
        bool violated = false;
        std::string which;
        for (const Obligation& o : e.engine.obligations) {
            if (is_true(value(m, o.term()))) {
                violated = true;
                which += o.kind + "; ";
            }
        }
        if (undefined != nullptr && undefined(a, b, c)) {
            // Optimisers may have made a defined thing of it; the build with traps has not.
            if (traps)
                EXPECT_TRUE(violated) << name << " " << a << " " << b << " " << c;
            Z3_model_dec_ref(context(), m);
            continue;
        }
        EXPECT_FALSE(violated) << name << " " << a << " " << b << " " << c << ": " << which;
        const u64 expected = run(a, b, c);
        const Term poison = value(m, e.outcome.value.poison);
        EXPECT_TRUE(is_false(poison)) << name;
        EXPECT_EQ(constant(value(m, e.outcome.value.bits)), expected)
            << name << " " << a << " " << b << " " << c;
        for (const auto& object : e.objects.all()) {
            if (object->storage != Storage::table)
                continue;
            for (const auto& [key, leaf] : object->leaves) {
                for (const auto& at : places(*leaf)) {
                    const Term now = e.world.load(*leaf, terms(at), Guard()).bits;
                    EXPECT_EQ(constant(value(m, now)), native(*leaf, at))
                        << name << " leaves " << object->name << leaf->path;
                }
            }
        }
        Z3_model_dec_ref(context(), m);
    }
}

void compare_all(const std::string& path, bool traps) {
    auto loaded = load(path);
    std::mt19937_64 random(seed());
    unsigned compared = 0;
    for (llvm::Function& f : *loaded->program.modules[0]) {
        if (f.isDeclaration() || !f.getName().starts_with("snippet_"))
            continue;
        SCOPED_TRACE(f.getName().str());
        try {
            const Executed e(*loaded, f);
            compare(e, f.getName().str(), traps, random);
            ++compared;
        } catch (const Unsupported& u) {
            ADD_FAILURE() << f.getName().str() << ": " << u.what();
        }
    }
    EXPECT_GE(compared, 10u);
}

TEST(Differential, O1) { compare_all(HOROS_SNIPPETS "/snippets-O1.bc", false); }
TEST(Differential, O2) { compare_all(HOROS_SNIPPETS "/snippets-O2.bc", false); }
TEST(Differential, Oz) { compare_all(HOROS_SNIPPETS "/snippets-Oz.bc", false); }
TEST(Differential, Traps) { compare_all(HOROS_SNIPPETS "/snippets-traps.bc", true); }
TEST(Differential, Instructions) { compare_all(HOROS_SNIPPETS "/instructions.bc", false); }

} // namespace
} // namespace horos::proofs
