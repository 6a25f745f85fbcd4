// What the engine must refuse, and what its parts promise.
#include "proofs/engine/evaluate.hpp"
#include "proofs/engine/execute.hpp"
#include "proofs/engine/query.hpp"

#include <gtest/gtest.h>
#include <llvm/AsmParser/Parser.h>
#include <llvm/Support/SourceMgr.h>

namespace horos::proofs {
namespace {

struct Parsed {
    llvm::LLVMContext context;
    std::unique_ptr<llvm::Module> module;
    std::unique_ptr<Objects> objects;
    World world;
    Policy policy;
    std::unique_ptr<Executor> engine;
    Outcome outcome;

    explicit Parsed(const std::string& text) {
        llvm::SMDiagnostic problem;
        module = llvm::parseAssemblyString(text, problem, context);
        if (!module)
            throw std::logic_error(problem.getMessage().str());
        objects = std::make_unique<Objects>(module->getDataLayout());
        engine = std::make_unique<Executor>(*objects, world, policy);
    }
    Outcome run(const std::string& name = "f") {
        llvm::Function* f = module->getFunction(name);
        std::vector<Value> arguments;
        for (const llvm::Argument& a : f->args())
            arguments.push_back(Value::of(
                named_bits("x" + std::to_string(a.getArgNo()), a.getType()->getIntegerBitWidth())));
        return engine->run(*f, arguments, Guard());
    }
    Verdict safe() {
        std::vector<Term> any;
        for (const Obligation& o : engine->obligations)
            any.push_back(o.term());
        std::vector<Lemma> none;
        return prove({}, lor(any), none, {}, {}).verdict;
    }
};

Verdict safe(const std::string& text) {
    Parsed p(text);
    p.run();
    return p.safe();
}

TEST(Refused, FloatingPoint) {
    EXPECT_THROW(
        Parsed("define double @f(i64 %a) { %d = uitofp i64 %a to double\n ret double %d }").run(),
        Unsupported);
}
TEST(Refused, CallThroughAPointer) {
    EXPECT_THROW(Parsed("define i64 @f() { %p = alloca ptr\n %q = load ptr, ptr %p\n"
                        " %r = call i64 %q()\n ret i64 %r }")
                     .run(),
                 Unsupported);
}
TEST(Refused, FunctionWithoutDeclaredEffect) {
    EXPECT_THROW(Parsed("declare void @g()\ndefine void @f() { call void @g()\n ret void }").run(),
                 Unsupported);
}
TEST(Refused, UnknownIntrinsic) {
    EXPECT_THROW(Parsed("declare i64 @llvm.readcyclecounter()\ndefine i64 @f() { %r = call i64 "
                        "@llvm.readcyclecounter()\n ret i64 %r }")
                     .run(),
                 Unsupported);
}
TEST(Refused, UnknownAssembly) {
    EXPECT_THROW(
        Parsed("define void @f() { call void asm sideeffect \"hlt\", \"\"()\n ret void }").run(),
        Unsupported);
}
TEST(Refused, UnboundedLoop) {
    Parsed p("define i64 @f(i64 %a) {\nentry: br label %l\nl: %i = phi i64 [ 0, %entry ], [ %n, %l "
             "]\n %n = add i64 %i, 1\n %c = icmp ult i64 %n, %a\n br i1 %c, label %l, label %e\n"
             "e: ret i64 %n }");
    p.policy.max_iterations = 20;
    EXPECT_THROW(p.run(), Unsupported);
}
TEST(Refused, Recursion) {
    EXPECT_THROW(Parsed("define i64 @f(i64 %a) { %r = call i64 @f(i64 %a)\n ret i64 %r }").run(),
                 Unsupported);
}
TEST(Refused, Vectors) {
    EXPECT_THROW(Parsed("@t = global [4 x i32] zeroinitializer\ndefine void @f() { %v = load <4 x "
                        "i32>, ptr @t\n store <4 x i32> %v, ptr @t\n ret void }")
                     .run(),
                 Unsupported);
}

TEST(Undefined, IndexOutOfBounds) {
    const std::string table = "@t = global [10 x i32] zeroinitializer\n";
    const std::string body = " %p = getelementptr [10 x i32], ptr @t, i64 0, i64 %i\n"
                             " %v = load i32, ptr %p\n ret i32 %v }";
    EXPECT_EQ(safe(table + "define i32 @f(i64 %a) { %i = urem i64 %a, 10\n" + body),
              Verdict::proved);
    EXPECT_EQ(safe(table + "define i32 @f(i64 %a) { %i = urem i64 %a, 11\n" + body),
              Verdict::refuted);
}
TEST(Undefined, UnsetLocal) {
    EXPECT_EQ(
        safe("define noundef i64 @f() { %p = alloca i64\n %v = load i64, ptr %p\n ret i64 %v }"),
        Verdict::refuted);
}
TEST(Undefined, PoisonThatNobodyLooksAtIsAllowed) {
    const std::string start = "define noundef i8 @f(i8 %a, i8 %b) { %s = add nuw i8 %a, %b\n"
                              " %c = icmp ult i8 %a, 100\n %d = icmp ult i8 %b, 100\n"
                              " %e = select i1 %c, i1 %d, i1 false\n";
    EXPECT_EQ(safe(start + " %r = select i1 %e, i8 %s, i8 0\n ret i8 %r }"), Verdict::proved);
    EXPECT_EQ(safe(start + " ret i8 %s }"), Verdict::refuted);
}
TEST(Undefined, BranchOnPoison) {
    EXPECT_EQ(safe("define i8 @f(i8 %a) { %s = add nsw i8 %a, 1\n %c = icmp eq i8 %s, 5\n"
                   " br i1 %c, label %x, label %y\nx: ret i8 1\ny: ret i8 2 }"),
              Verdict::refuted);
}
TEST(Undefined, UnreachableAndDivision) {
    EXPECT_EQ(safe("define i8 @f(i8 %a) { %c = icmp eq i8 %a, 5\n br i1 %c, label %x, label %y\n"
                   "x: unreachable\ny: ret i8 2 }"),
              Verdict::refuted);
    EXPECT_EQ(safe("define i8 @f(i8 %a) { %s = udiv i8 3, %a\n ret i8 %s }"), Verdict::refuted);
    EXPECT_EQ(safe("define i8 @f(i8 %a) { %b = or i8 %a, 1\n %s = udiv i8 3, %b\n ret i8 %s }"),
              Verdict::proved);
}
TEST(Undefined, ShiftTooFar) {
    EXPECT_EQ(safe("define noundef i8 @f(i8 %a) { %s = shl i8 1, %a\n ret i8 %s }"),
              Verdict::refuted);
}
TEST(Undefined, NullAndConstants) {
    EXPECT_EQ(safe("define i8 @f() { %s = load i8, ptr null\n ret i8 %s }"), Verdict::refuted);
    EXPECT_EQ(safe("@k = constant i8 3\ndefine void @f() { store i8 1, ptr @k\n ret void }"),
              Verdict::refuted);
}

TEST(Steps, LongestPath) {
    Parsed p("define i8 @f(i8 %a) { %c = icmp eq i8 %a, 5\n br i1 %c, label %x, label %y\n"
             "x: %1 = add i8 %a, 1\n %2 = add i8 %1, 1\n ret i8 %2\ny: ret i8 2 }");
    EXPECT_EQ(p.run().steps, 5u); // icmp, br, add, add, ret
}

TEST(Assumptions, AFieldThatIsFixedLeavesPathsOut) {
    // The other path could not be executed at all.
    Parsed p("@t = global i8 0\ndeclare void @g()\ndefine i8 @f() { %v = load i8, ptr @t\n"
             " %c = icmp eq i8 %v, 3\n br i1 %c, label %x, label %y\n"
             "x: call void @g()\n ret i8 1\ny: store i8 3, ptr @t\n %w = load i8, ptr @t\n"
             " ret i8 %w }");
    p.objects->fix("t", "", 2);
    EXPECT_EQ(constant(p.run().value.bits), 3u); // before the first step, not for ever
    Parsed q("@t = global i8 0\ndefine i8 @f() { %v = load i8, ptr @t\n ret i8 %v }");
    EXPECT_FALSE(constant(q.run().value.bits).has_value());
}

TEST(Guards, DecideWhatTheyCan) {
    const Term a = named_bits("ga", 1);
    const Term b = named_bits("gb", 1);
    const Guard both = Guard().with(a).with(b);
    EXPECT_TRUE(both.implies(Guard().with(b)));
    EXPECT_FALSE(Guard().with(b).implies(both));
    EXPECT_TRUE(both.excludes(Guard().with(lnot(a))));
    EXPECT_TRUE(Guard().with(a).with(lnot(a)).impossible());
    EXPECT_EQ(Guard::join({Guard().with(b).with(a), Guard().with(b).with(lnot(a))}),
              Guard().with(b));
}

TEST(Guards, DecideConditionsFromTheirParts) {
    const Term a = named_bits("ga", 1);
    const Term b = named_bits("gb", 1);
    const Term c = named_bits("gc", 1);
    const Guard both = Guard().with(a).with(b);
    EXPECT_TRUE(is_true(both.fold(land(a, b))));
    EXPECT_TRUE(is_false(both.fold(land(c, lnot(a)))));
    EXPECT_FALSE(is_true(both.fold(land(a, c))));
    EXPECT_TRUE(both.with(lnot(land({a, b}))).impossible());
    // In whichever order they are put together.
    EXPECT_TRUE(Guard().with(lnot(land({a, b}))).and_also(both).impossible());
    EXPECT_TRUE(both.and_also(Guard().with(lnot(land({a, b})))).impossible());
    EXPECT_FALSE(Guard().with(lnot(land({a, c}))).and_also(both).impossible());
    const Term x = named_bits("gx", 8);
    const Term y = named_bits("gy", 8);
    EXPECT_EQ(both.pick(ite(land(a, b), x, y)), x);
    EXPECT_EQ(both.pick(zext(ite(lnot(a), x, ite(c, x, y)), 16)), zext(ite(c, x, y), 16));
    EXPECT_EQ(Guard().pick(ite(a, x, y)), ite(a, x, y));
}

// A part of an argument that is known to be small has one form.
TEST(Guards, NarrowWhatIsSmall) {
    const Term x = named_bits("gw", 64);
    const Guard small = Guard().with(ult(x, num(64, 1024)));
    const Term row = zext(extract(9, 8, x), 32);
    EXPECT_EQ(small.narrowed(extract(39, 8, x)), row);
    EXPECT_EQ(small.narrowed(zext(extract(31, 8, x), 32)), row);
    EXPECT_EQ(small.narrowed(extract(7, 0, x)), extract(7, 0, x));
    EXPECT_EQ(small.narrowed(extract(39, 12, x)), num(28, 0));
    EXPECT_EQ(Guard().with(ult(x, num(64, 1025))).narrowed(extract(39, 8, x)),
              zext(extract(10, 8, x), 32));
    EXPECT_EQ(Guard().narrowed(extract(39, 8, x)), extract(39, 8, x));
}

TEST(Terms, ComparisonsHaveOneForm) {
    const Term x = named_bits("cx", 32);
    const Term y = named_bits("cy", 32);
    EXPECT_EQ(ult(num(32, 9), x), lnot(ult(x, num(32, 10))));
    EXPECT_TRUE(is_false(ult(num(32, ~uint32_t{0}), x)));
    EXPECT_EQ(ult(bor(x, y), num(32, 16)), land(ult(x, num(32, 16)), ult(y, num(32, 16))));
    EXPECT_EQ(eq(bxor(x, y), num(32, 0)), eq(x, y));
    const Term c = named_bits("cc", 1);
    const Term d = named_bits("cd", 1);
    const Term chosen = ite(c, ite(d, num(8, 1), num(8, 2)), extract(7, 0, x));
    EXPECT_EQ(eq(chosen, num(8, 3)), land(lnot(c), eq(extract(7, 0, x), num(8, 3))));
}

// A function's refusals are numbers; where none was given, all that it has checked is known, and
// what it stored there is what is read.
constexpr const char* checked =
    "define internal i32 @check(i64 %a, i64 %b, ptr %out) {\n"
    " %c = icmp ult i64 %a, 10\n br i1 %c, label %x, label %e\n"
    "x: %d = icmp ult i64 %b, 20\n br i1 %d, label %y, label %e\n"
    "y: store i64 %a, ptr %out\n br label %e\n"
    "e: %r = phi i32 [ 3, %0 ], [ 5, %x ], [ 0, %y ]\n ret i32 %r }\n"
    "define i64 @f(i64 %a, i64 %b) { %out = alloca i64\n store i64 0, ptr %out\n"
    " %e = call i32 @check(i64 %a, i64 %b, ptr %out)\n %n = icmp ne i32 %e, 0\n"
    " br i1 %n, label %no, label %yes\n"
    "yes: %v = load i64, ptr %out\n ret i64 %v\n"
    "no: ret i64 99 }";

TEST(Origins, ABranchKnowsTheOnePathThatLeadsToIt) {
    Parsed p(checked);
    const Term value = p.run().value.bits;
    const Term a = named_bits("x0", 64);
    const Term b = named_bits("x1", 64);
    EXPECT_EQ(value, ite(land({ult(a, num(64, 10)), ult(b, num(64, 20))}), a, num(64, 99)));
}
TEST(Origins, SayNothingWhereSeveralPathsLead) {
    // 0 both when a is small and when b is: that one of them is, and not which, is known.
    Parsed p("define i32 @f(i64 %a, i64 %b) { %c = icmp ult i64 %a, 10\n"
             " br i1 %c, label %e, label %x\n"
             "x: %d = icmp ult i64 %b, 20\n br i1 %d, label %e, label %y\n"
             "y: br label %e\n"
             "e: %r = phi i32 [ 0, %0 ], [ 0, %x ], [ 4, %y ]\n %n = icmp eq i32 %r, 0\n"
             " br i1 %n, label %g, label %h\n"
             "g: %k = icmp ult i64 %a, 10\n %s = select i1 %k, i32 7, i32 8\n ret i32 %s\n"
             "h: ret i32 9 }");
    const Term value = p.run().value.bits;
    const Term small_a = ult(named_bits("x0", 64), num(64, 10));
    const Term small_b = ult(named_bits("x1", 64), num(64, 20));
    const Term expected = ite(small_a, num(32, 7), ite(small_b, num(32, 8), num(32, 9)));
    EXPECT_EQ(consistent({}, lnot(eq(value, expected)), 1000), Verdict::refuted);
}

// How often something was read before is a number like any other.
TEST(Readings, AreCountedOnTheirPath) {
    Parsed p("define void @f() { ret void }");
    const Term c = named_bits("rc", 1);
    const Guard yes = Guard().with(c);
    const Guard no = Guard().with(lnot(c));
    const Term first = p.engine->reading("r", {}, 8, yes);
    const Term other = p.engine->reading("r", {}, 8, no);
    EXPECT_EQ(first, other);
    const Term then = p.engine->reading("r", {}, 8, Guard());
    EXPECT_EQ(consistent({c}, lnot(eq(then, first)), 1000), Verdict::proved);
    // Another execution, which comes by once whatever c is.
    Parsed q("define void @f() { ret void }");
    const Term before = q.engine->reading("r", {}, 8, Guard());
    const Term after = q.engine->reading("r", {}, 8, Guard());
    EXPECT_EQ(before, first);
    EXPECT_EQ(consistent({}, lnot(eq(then, after)), 1000), Verdict::refuted);
}

TEST(Readings, OfAnotherExecutionCountToo) {
    Parsed p("define void @f() { ret void }");
    const Guard yes = Guard().with(named_bits("rc", 1));
    const Guard no = Guard().with(lnot(named_bits("rc", 1)));
    const Term first = p.engine->reading("r", {}, 8, no);
    EXPECT_FALSE(p.engine->has_read("r", yes));
    p.engine->count_reading("r", yes);
    EXPECT_TRUE(p.engine->has_read("r", yes));
    EXPECT_NE(p.engine->reading("r", {}, 8, yes), first); // the second on its path
}

TEST(Values, WhatOnePathHasNotSetIsWhatTheOtherHas) {
    Parsed p("define i64 @f(i1 %c, i64 %a) { br i1 %c, label %x, label %y\n"
             "x: br label %y\n"
             "y: %r = phi i64 [ undef, %0 ], [ %a, %x ]\n ret i64 %r }");
    const Value value = p.run().value;
    const Term c = named_bits("x0", 1);
    EXPECT_EQ(value.bits, named_bits("x1", 64));
    EXPECT_EQ(consistent({}, lxor(value.poison, lnot(c)), 1000), Verdict::refuted);
}

TEST(Queries, LemmasAreAddedWhenNeeded) {
    const Term x = named_bits("qx", 32);
    const Term y = named_bits("qy", 32);
    std::vector<Lemma> lemmas{{"small", ult(x, num(32, 10)), 1}, {"other", ult(y, num(32, 5)), 1}};
    const Answer a = prove({}, ult(num(32, 20), x), lemmas, {}, {});
    EXPECT_EQ(a.verdict, Verdict::proved);
    EXPECT_EQ(a.used, std::vector<std::string>{"small"});
    EXPECT_EQ(prove({}, ult(num(32, 5), x), lemmas, {}, {}).verdict, Verdict::refuted);
}
TEST(Queries, WhatEarlierQuestionsNeededComesAtOnce) {
    const Term x = named_bits("x", 32);
    const Term y = named_bits("y", 32);
    std::vector<Lemma> lemmas{{"first", ult(x, y), 1}, {"second", ult(y, num(32, 10)), 1}};
    Session session;
    const auto rounds = [&] {
        const Answer a = session.prove({}, ult(num(32, 20), x), lemmas, {}, {});
        EXPECT_EQ(a.verdict, Verdict::proved);
        EXPECT_EQ(a.lemmas, 2u);
        return a.rounds;
    };
    const unsigned first = rounds();
    EXPECT_GT(first, 1u);
    rounds();
    EXPECT_EQ(rounds(), 1u);
    // They are no part of what is asked: without them something else is possible.
    std::vector<Lemma> none;
    EXPECT_EQ(session.prove({}, ult(num(32, 20), x), none, {}, {}).verdict, Verdict::refuted);
}
TEST(Queries, LemmasOfTheStatementComeAtOnce) {
    const Term x = named_bits("qx", 32);
    std::vector<Lemma> lemmas{{"own", ult(x, num(32, 10)), 0}, {"far", ult(x, num(32, 9)), 1}};
    const Answer a = prove({}, ult(num(32, 20), x), lemmas, {}, {});
    EXPECT_EQ(a.rounds, 1u);
    EXPECT_EQ(a.used, std::vector<std::string>{"own"});
}

TEST(Justification, IsWhatDecides) {
    const Term x = named_bits("jx", 8);
    const Term y = named_bits("jy", 8);
    const Term either = lor(eq(x, num(8, 5)), eq(y, num(8, 7)));
    Model model;
    ASSERT_EQ(consistent({eq(x, num(8, 5)), eq(y, num(8, 1))}, either, 1000, &model),
              Verdict::proved);
    Evaluation whole(model.raw(), true);
    const Places reasons = whole.justification({either});
    const auto decl = [](Term t) { return Z3_get_app_decl(context(), Z3_to_app(context(), t)); };
    EXPECT_EQ(reasons.size(), 1u);
    EXPECT_TRUE(reasons.contains(decl(x)));
    // With no more than that known, the rest is open.
    Evaluation part(model.raw(), true, &reasons);
    EXPECT_TRUE(part.value(either).has_value());
    EXPECT_FALSE(part.value(eq(y, num(8, 1))).has_value());
}

} // namespace
} // namespace horos::proofs
