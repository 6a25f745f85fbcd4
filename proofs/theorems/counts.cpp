// The counts in the frame table are sums over all objects and page-table entries
// (spec/contributions.hpp). A sum over everything is no formula for the solver; that it is kept is:
// only finitely many rows were written, and a count moved by exactly what their terms moved by.
// What the sums say at one index (spec's ghost_ functions) is used as a lemma everywhere.
#include "theorem.hpp"

#include <algorithm>

namespace horos::proofs {

namespace {

using Row = std::vector<Term>;

struct Counting {
    Step& step;
    Guard path; // of the step's, which are looked at one by one
    Kernel::Touches touched;

    Term holds(const char* function, const Row& at, World& world) {
        llvm::Function* f = step.kernel.spec_function(function);
        if (f == nullptr)
            throw std::runtime_error(std::string("spec/ has no ") + function);
        return step.kernel.evaluate(*f, at, world, &touched, path);
    }
    // +1, 0 or -1
    Term change(const char* function, const Row& at) {
        const Term after = zext(holds(function, at, step.now), 32);
        return sub(after, zext(holds(function, at, step.kernel.old), 32));
    }
    Term stored(const char* table, const char* field, Term row, World& world) {
        touched.emplace_back(step.kernel.objects.find(table), Row{row});
        return zext(step.kernel.field(table, field, {row}, world, path), 32);
    }
    Term moved(const char* table, const char* field, Term row) {
        return sub(stored(table, field, row, step.now), stored(table, field, row, step.kernel.old));
    }
};

void add_once(std::vector<Row>& rows, const Row& row) {
    if (std::find(rows.begin(), rows.end(), row) == rows.end())
        rows.push_back(row);
}

// The rows of a table that are written, of those fields; whole rows too when `fills`.
void written(Step& step, const Guard& path, const char* table,
             const std::vector<std::string>& fields, size_t indices, bool fills,
             std::vector<Row>& rows) {
    const Object* object = step.kernel.objects.find(table);
    for (const Entry& e : step.now.log(*object)) {
        if (path.excludes(e.guard))
            continue;
        if (e.kind != Entry::Kind::store) {
            if (fills && e.row != nullptr)
                add_once(rows, {e.row});
            continue;
        }
        for (const std::string& f : fields) {
            if (e.leaf->path.ends_with(f))
                add_once(rows,
                         Row(e.indices.begin(), e.indices.begin() + static_cast<long>(indices)));
        }
    }
}

Term same_row(const Row& a, const Row& b) {
    std::vector<Term> all;
    for (size_t i = 0; i < a.size(); ++i)
        all.push_back(eq(a[i], b[i]));
    return land(all);
}
// Not one of those before it, so that nothing counts twice.
Term first_time(const std::vector<Row>& rows, size_t n) {
    std::vector<Term> again;
    for (size_t i = 0; i < n; ++i)
        again.push_back(same_row(rows[i], rows[n]));
    return lnot(lor(again));
}

struct Written {
    std::vector<Row> objects; // whose references may have changed
    std::vector<Row> entries; // (table, index)
    std::vector<Row> renewed; // rows that became something else
    std::vector<Row> owners;  // frames
    std::vector<Row> block_owners;
};

Written all_written(Step& step, const Guard& path) {
    Written w;
    written(step, path, "frames", {"[].type"}, 1, true, w.objects);
    written(step, path, "domains", {"[].tables[]"}, 1, true, w.objects);
    written(step, path, "spaces", {"[].root", "[].io_map", "[].msr_map"}, 1, false, w.objects);
    written(step, path, "threads", {"[].domain", "[].space", "[].bound", "[].monitor"}, 1, false,
            w.objects);
    written(step, path, "sched_contexts", {"[].thread"}, 1, false, w.objects);
    written(step, path, "interrupts", {"[].notification"}, 1, false, w.objects);
    written(step, path, "vcpus",
            {"[].space", "[].control", "[].fpu", "[].state", "[].vmx.apic_page"}, 1, false,
            w.objects);
    written(step, path, "page_tables", {"[].entries[]"}, 2, false, w.entries);
    written(step, path, "frames", {"[].type", "[].level"}, 1, false, w.renewed);
    written(step, path, "page_tables", {}, 1, true, w.renewed);
    written(step, path, "frames", {"[].owner"}, 1, false, w.owners);
    written(step, path, "blocks", {"[].owner"}, 1, false, w.block_owners);
    return w;
}

// The sum of changes at the rows, each once.
Term sum(Counting& c, const std::vector<Row>& rows, const std::function<Term(const Row&)>& change) {
    Term total = num(32, 0);
    for (size_t i = 0; i < rows.size(); ++i)
        total = add(total, ite(first_time(rows, i), change(rows[i]), num(32, 0)));
    (void)c;
    return total;
}

// A row that becomes another type has no terms before or after, but those that are in `entries`.
Term forgotten(Counting& c, const Written& w, Term frame, Term block) {
    const Term index = named_bits("entry", 32);
    std::vector<Term> any;
    for (const Row& row : w.renewed) {
        const Row at{row[0], index};
        std::vector<Term> known;
        for (const Row& e : w.entries)
            known.push_back(same_row(e, at));
        std::vector<Term> differs;
        const auto compare = [&](const char* function, const Row& arguments) {
            differs.push_back(lxor(c.holds(function, arguments, c.step.kernel.old),
                                   c.holds(function, arguments, c.step.now)));
        };
        compare("entry_lives", at);
        compare("entry_refers", {row[0], index, frame});
        compare("entry_maps", {row[0], index, frame});
        compare("entry_maps_block", {row[0], index, block});
        any.push_back(land({ult(index, num(32, 512)), lnot(lor(known)), lor(differs)}));
    }
    return lor(any);
}

// Where counts and what is counted stand.
std::set<const Object*> counted_tables(const Step& step) {
    std::set<const Object*> all;
    for (const char* name : {"frames", "blocks", "domains", "spaces", "threads", "sched_contexts",
                             "interrupts", "vcpus", "page_tables"})
        all.insert(step.kernel.objects.find(name));
    return all;
}

void kept_on(Step& step, Result& result, const Guard& path) {
    const Written w = all_written(step, path);
    Counting c{step, path, {}};
    const Term f = named_bits("frame", 32);
    const Term b = named_bits("block", 32);
    const Term frame_limit = step.kernel.field("machine", ".frame_limit", {}, step.kernel.old);
    const Term exists = land(lnot(eq(f, num(32, 0))), ult(f, frame_limit));
    const auto goal = [&](const char* name, Term where, Term moved, Term terms) {
        const Kernel::Focus focus(step.kernel);
        step.kernel.touch(c.touched, 0);
        step.goal(result, name, land({path.term(), step.over(), where, lnot(eq(moved, terms))}));
        c.touched.clear();
    };
    goal("references", exists, c.moved("frames", "[].references", f),
         add(sum(c, w.objects,
                 [&](const Row& row) {
                     Term total = num(32, 0);
                     for (uint64_t i = 0; i < 6; ++i)
                         total = add(total, c.change("object_refers", {row[0], num(32, i), f}));
                     return total;
                 }),
             sum(c, w.entries,
                 [&](const Row& row) { return c.change("entry_refers", {row[0], row[1], f}); })));
    goal("mappings of a frame", exists, c.moved("frames", "[].mappings", f),
         sum(c, w.entries,
             [&](const Row& row) { return c.change("entry_maps", {row[0], row[1], f}); }));
    goal("mappings of a block", ult(shl(zext(b, 64), num(64, 9)), zext(frame_limit, 64)),
         c.moved("blocks", "[].mappings", b), sum(c, w.entries, [&](const Row& row) {
             return c.change("entry_maps_block", {row[0], row[1], b});
         }));
    goal("live entries", exists, c.moved("frames", "[].live", f),
         sum(c, w.entries, [&](const Row& row) {
             return ite(eq(row[0], f), c.change("entry_lives", row), num(32, 0));
         }));
    goal("entries of a frame that becomes something else", forgotten(c, w, f, b), num(8, 0),
         num(8, 1));
    // A frame that is no domain counts nobody's memory.
    const auto owned = [&](World& world) {
        const Term is_domain = eq(step.kernel.frame_type(f, world, path),
                                  num(8, static_cast<uint64_t>(ObjectType::domain)));
        return ite(is_domain, c.stored("domains", "[].owned", f, world), num(32, 0));
    };
    const auto owner_change = [&](const char* table, const Row& row) {
        const auto is = [&](World& world) {
            return zext(eq(c.stored(table, "[].owner", row[0], world), f), 32);
        };
        return sub(is(step.now), is(step.kernel.old));
    };
    goal("owned frames and blocks", exists, sub(owned(step.now), owned(step.kernel.old)),
         add(sum(c, w.owners, [&](const Row& row) { return owner_change("frames", row); }),
             sum(c, w.block_owners, [&](const Row& row) { return owner_change("blocks", row); })));
}

} // namespace

Result kept(Step& step) {
    Result result = begin(step);
    const std::set<const Object*> counted = counted_tables(step);
    for (const Guard& path : writing_cases(step.kernel, {&step.now}, counted, 16))
        kept_on(step, result, path);
    finish(result);
    return result;
}

std::vector<Theorem> count_theorems(const Bitcode& bitcode) {
    std::vector<Theorem> all;
    const auto before = [](Step& step) {
        step.engine.obligations_on = false; // theorem 1 is about these
    };
    for (const Hypercall& h : hypercalls())
        add_theorems(all, "counts", h, "keeps every count the sum of what it counts", before, kept);
    add_export_theorems(all, bitcode, "counts", "keeps every count the sum of what it counts",
                        before, kept);
    return all;
}

} // namespace horos::proofs
