#include "options.hpp"

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <stdexcept>

namespace horos::proofs {

const char* const usage_text =
    R"(usage: horos prove [OPTIONS]

Proves theorems about the bitcode that the kernel is made of. Exit status 0: all were proved;
1: one was refuted or is unknown; 2: a bad option or file.

  --list             name the theorems and what each says
  --check-list       whether every hypercall and every other way into the core has its theorems,
                     and every name in --expected is one; proves nothing
  --only PATTERN     only theorems whose name contains PATTERN, or ends with it: PATTERN$;
                     several: A,B
  --mutants N        change one instruction of the kernel at a time, in N ways; each mutant must be
                     refuted by a theorem, or shown to be equivalent. Exit status 0: 95 % are
  --mutant NUMBER    with --mutants N: try only this one of the N; several: A,B. Exit status 0: all
                     were refuted or are equivalent
  --table FILE       write the table of mutants (docs/mutants.md)
  --remarks FILE     what is known of single mutants that survive, for the table
  --proved FILE      do not prove the kernel first: this report, of the same bitcode, says what is
                     proved (--json)
  --mutant-seconds N  of processor time for one mutant (120)
  --jobs N           at once (2)
  --timeout SECONDS  of processor time for one theorem (60)
  --query-timeout SECONDS  for one question to the solver (8); counted in steps of the solver,
                     so that an answer does not depend on the load of the machine
  --json FILE        write the report as JSON
  --html FILE        write the report as a page
  --assurance FILE   write docs/assurance.md
  --preface FILE     text to put at its head
  --tests DIR        write each counterexample as a GoogleTest of the code compiled for the host
                     (tests/prover/counterexample.hpp)
  --cache DIR        keep results, by the hash of bitcode, spec and prover
  --expected FILE    theorems that are known to be open: they do not make the run fail
  --core FILE, --spec FILE, --image FILE   the bitcode, and the image it went into
  --verbose          show what each theorem needed
)";

namespace {

unsigned number(const std::string& option, const char* text) {
    char* end = nullptr;
    const unsigned long value = std::strtoul(text, &end, 10);
    if (*text == 0 || *end != 0 || value == 0 || value > 1'000'000)
        throw std::runtime_error(option + " needs a number from 1 on, not '" + text + "'");
    return static_cast<unsigned>(value);
}

std::set<unsigned> numbers(const std::string& option, const std::string& text) {
    std::set<unsigned> all;
    std::istringstream in(text);
    for (std::string one; std::getline(in, one, ',');)
        all.insert(number(option, one.c_str()));
    return all;
}

} // namespace

Options parse_options(int argc, char** argv) {
    Options o;
    for (int i = 1; i < argc; ++i) {
        const std::string a = argv[i];
        const auto next = [&]() -> const char* {
            if (i + 1 >= argc)
                throw std::runtime_error(a + " needs an argument");
            return argv[++i];
        };
        if (a == "--help" || a == "-h") {
            std::fputs(usage_text, stdout);
            o.help = true;
        } else if (a == "--list")
            o.list = true;
        else if (a == "--check-list")
            o.check_list = true;
        else if (a == "--mutants")
            o.mutants = number(a, next());
        else if (a == "--mutant")
            o.numbers = numbers(a, next());
        else if (a == "--tests")
            o.tests = next();
        else if (a == "--table")
            o.table = next();
        else if (a == "--remarks")
            o.remarks = next();
        else if (a == "--proved")
            o.proved = next();
        else if (a == "--mutant-seconds")
            o.mutant_seconds = number(a, next());
        else if (a == "--preface")
            o.preface = next();
        else if (a == "--only")
            o.only = next();
        else if (a == "--jobs")
            o.jobs = number(a, next());
        else if (a == "--timeout")
            o.timeout = number(a, next());
        else if (a == "--query-timeout")
            o.query_timeout = number(a, next());
        else if (a == "--json")
            o.json = next();
        else if (a == "--html")
            o.html = next();
        else if (a == "--assurance")
            o.assurance = next();
        else if (a == "--cache")
            o.cache = next();
        else if (a == "--expected")
            o.expected = next();
        else if (a == "--core")
            o.core = next();
        else if (a == "--spec")
            o.spec = next();
        else if (a == "--image")
            o.image = next();
        else if (a == "--verbose")
            o.verbose = true;
        else
            throw std::runtime_error("there is no option '" + a + "'; see --help");
    }
    if (!o.numbers.empty() && (*o.numbers.rbegin() > o.mutants || !o.table.empty()))
        throw std::runtime_error("--mutant names one of those of --mutants N, from 1 to N, and the "
                                 "table is of all of them");
    return o;
}

} // namespace horos::proofs
