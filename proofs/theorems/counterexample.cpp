#include "counterexample.hpp"
#include "proofs/engine/names.hpp"

#include <algorithm>
#include <cctype>
#include <functional>

namespace horos::proofs {

namespace {

struct Place {
    const Object* object;
    std::string field; // frames[5].type
    uint64_t before;
    uint64_t after;
    std::vector<uint64_t> at;
};

// ".slots[].object" at 5, 3: "cap_tables[5].slots[3].object"
std::string written(const Leaf& leaf, const std::vector<uint64_t>& at) {
    std::string text = leaf.object->name;
    size_t next = 0;
    for (size_t i = 0; i < leaf.path.size(); ++i) {
        if (leaf.path.compare(i, 2, "[]") == 0 && next < at.size()) {
            text += "[" + std::to_string(at[next++]) + "]";
            ++i;
        } else {
            text += leaf.path[i];
        }
    }
    return text;
}

// All fields of the rows that the step looked at, where they are not zero before and after. Of the
// views of a frame only that of its type: the others show the same memory.
void visit(Step& step, const Model& model, const std::function<void(const Place&)>& see) {
    std::set<std::string> seen;
    Kernel::Touches rows = step.engine.touched;
    rows.insert(rows.end(), step.shown.begin(), step.shown.end());
    for (const auto& o : step.kernel.objects.all()) {
        if (o->name == "machine")
            rows.emplace_back(o.get(), std::vector<Term>{});
    }
    for (const auto& [object, indices] : rows) {
        if (object->storage == Storage::view) {
            const int type = type_of_view(object->name);
            const uint64_t is = model.number(step.kernel.frame_type(indices[0], step.kernel.old));
            const uint64_t will = model.number(step.kernel.frame_type(indices[0], step.now));
            if (type < 0 ||
                (is != static_cast<uint64_t>(type) && will != static_cast<uint64_t>(type)))
                continue;
        }
        std::vector<uint64_t> at;
        for (Term i : indices)
            at.push_back(model.number(i));
        for (const auto& [key, leaf] : object->leaves) {
            if (leaf->pointer || leaf->strides.size() > indices.size())
                continue;
            const size_t n = leaf->strides.size();
            bool inside = true;
            for (size_t i = 0; i < n; ++i)
                inside = inside && at[i] < leaf->counts[i];
            const std::vector<uint64_t> where(at.begin(), at.begin() + static_cast<long>(n));
            const std::string field = written(*leaf, where);
            if (!inside || !seen.insert(field).second)
                continue;
            const std::vector<Term> some(indices.begin(), indices.begin() + static_cast<long>(n));
            const uint64_t before = model.number(step.kernel.old.load(*leaf, some, Guard()).bits);
            const uint64_t after = model.number(step.now.load(*leaf, some, Guard()).bits);
            see({object, field, before, after, where});
        }
    }
}

bool is_declared(const std::string& table) {
    static const std::set<std::string> tables{
        "frames",     "blocks",      "cap_tables",     "page_tables",  "domains",
        "spaces",     "threads",     "sched_contexts", "endpoints",    "notifications",
        "interrupts", "port_ranges", "mmio_ranges",    "core_objects", "vcpus",
        "machine",    "cores",       "irq_of_vector",  "results"};
    return tables.contains(table);
}

std::string identifier(std::string text) {
    for (char& c : text) {
        if (std::isalnum(static_cast<unsigned char>(c)) == 0)
            c = '_';
    }
    return text;
}

std::string words(const Step& step, const Model& model) {
    std::string text;
    for (const Term t : step.arguments)
        text += (text.empty() ? "" : ", ") + std::to_string(model.number(t)) + "u";
    return text;
}

// What the words of a hypercall are, by the structure that the generated decoder fills: of cap_mint
// CapMintArgs.
std::vector<std::string> argument_names(const Step& step) {
    std::string type;
    bool starts = true;
    for (const char c : step.name) {
        if (c != '_')
            type += starts ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
        starts = c == '_';
    }
    return step.number < 0 ? std::vector<std::string>{} : member_names(type + "Args");
}

} // namespace

std::string counterexample_text(Step& step, const Model& model) {
    std::string t =
        step.name + " on core " + std::to_string(model.number(step.kernel.this_core)) + "\n";
    const std::vector<std::string> names = argument_names(step);
    for (size_t i = 0; i < step.arguments.size(); ++i) {
        const Term a = step.arguments[i];
        t += "  " + text(a) + (i < names.size() ? " (" + names[i] + ")" : "") + " = " +
             std::to_string(model.number(a)) + "\n";
    }
    unsigned count = 0;
    visit(step, model, [&](const Place& p) {
        if ((p.before == 0 && p.after == 0) || ++count > 200)
            return;
        t += "  " + p.field + " = " + std::to_string(p.before);
        if (p.after != p.before)
            t += ", then " + std::to_string(p.after);
        t += "\n";
    });
    return t;
}

std::string counterexample_test(Step& step, const Model& model, const std::string& goal) {
    const std::string core = std::to_string(model.number(step.kernel.this_core));
    std::string t = "// Written by horos prove. A state of which this is refuted: " + goal +
                    "\n#include \"tests/prover/counterexample.hpp\"\n\nnamespace horos::test {\n\n"
                    "TEST(Counterexample, " +
                    identifier(step.name + "_" + goal) + ") {\n" + "    Replay replay(" + core +
                    ");\n";
    std::string watched;
    visit(step, model, [&](const Place& p) {
        if (!is_declared(p.object->name) || p.field.find('#') != std::string::npos)
            return;
        if (p.before != 0)
            t += "    replay.set(" + p.field + ", " + std::to_string(p.before) + "u);\n";
        if (p.object->name != "machine")
            watched += "    HOROS_WATCH(replay, " + p.field + ");\n";
    });
    const std::string call = std::to_string(step.number) + ", {" + words(step, model) + "}";
    if (goal.starts_with("inv_")) {
        std::string at;
        if (const Domain* d = domain_of(goal)) {
            if (d->first != Over::nothing)
                at += std::to_string(model.number(named_bits("any", 32)));
            if (d->second != Over::nothing)
                at += ", " + std::to_string(model.number(named_bits("any2", 32)));
        }
        t += "    ASSERT_TRUE(spec::" + goal + "(" + at + "));\n    replay.kernel(" + call +
             ");\n    EXPECT_TRUE(spec::" + goal + "(" + at + "));\n";
    } else {
        t += watched + "    replay.compare(" + call + ");\n";
    }
    return t + "}\n\n} // namespace horos::test\n";
}

} // namespace horos::proofs
