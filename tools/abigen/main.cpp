// horos-abigen SPEC --output DIR [--docs FILE | --check-docs FILE]
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "tools/abigen/spec.hpp"
#include "tools/common/files.hpp"

namespace {

using namespace horos::tools;

constexpr const char* usage =
    "usage: horos-abigen SPEC [--output DIR] [--docs FILE] [--check-docs FILE]\n"
    "  --output DIR       write the generated headers below DIR\n"
    "  --docs FILE        write the reference page\n"
    "  --check-docs FILE  fail when the reference page is not what SPEC says\n";

struct Options {
    std::string spec;
    std::string output;
    std::string docs;
    std::string check_docs;
};

bool parse(int argc, char** argv, Options& options) {
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        std::string* target = word == "--output"       ? &options.output
                              : word == "--docs"       ? &options.docs
                              : word == "--check-docs" ? &options.check_docs
                                                       : nullptr;
        if (target != nullptr && i + 1 < argc) {
            *target = argv[++i];
        } else if (target == nullptr && !word.starts_with("-") && options.spec.empty()) {
            options.spec = word;
        } else {
            std::fprintf(stderr, "horos-abigen: error: cannot use '%s'\n%s", argv[i], usage);
            return false;
        }
    }
    if (options.spec.empty()) {
        std::fprintf(stderr, "horos-abigen: error: no specification named\n%s", usage);
    }
    return !options.spec.empty();
}

int run(const Options& options) {
    Diagnostics diagnostics;
    const auto spec = abigen::read_spec(options.spec, diagnostics);
    if (!spec) {
        std::fputs(diagnostics.text().c_str(), stderr);
        return 1;
    }
    if (!options.output.empty()) {
        const std::string abi = options.output + "/horos/abi/gen/";
        write_text_if_changed(abi + "calls.hpp", emit_calls(*spec));
        write_text_if_changed(abi + "decode.hpp", emit_decode(*spec));
        write_text_if_changed(abi + "bad_arguments.hpp", emit_bad_arguments(*spec));
        write_text_if_changed(abi + "spec_calls.hpp", emit_spec(*spec));
        write_text_if_changed(options.output + "/horos/user/stubs.hpp", emit_stubs(*spec));
    }
    if (!options.docs.empty()) {
        write_text_if_changed(options.docs, emit_docs(*spec));
    }
    if (!options.check_docs.empty() && read_text(options.check_docs) != emit_docs(*spec)) {
        std::fprintf(stderr, "%s: error: out of date with %s; run: ninja abi-docs\n",
                     options.check_docs.c_str(), options.spec.c_str());
        return 1;
    }
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "--help") == 0) {
        std::fputs(usage, stdout);
        return 0;
    }
    Options options;
    if (!parse(argc, argv, options)) {
        return 2;
    }
    try {
        return run(options);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
