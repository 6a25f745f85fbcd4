// The readers take any bytes: they answer, or say in one line with the file's name what is wrong.
#include "input.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <sstream>

namespace horos::explain {
namespace {

std::string sample(const char* name) {
    std::ifstream in(std::string(HOROS_EXPLAIN_DATA) + "/" + name, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

// The state is read in whole, or the error names the file. Anything else fails the test.
void answers(const std::string& bytes, Format format) {
    try {
        const Input input = read_input(bytes, "some.file", format);
        RC_ASSERT(input.vmcb != nullptr);
    } catch (const InputError& error) {
        const std::string text = error.what();
        RC_ASSERT(text.find("some.file") != std::string::npos);
        RC_ASSERT(text.size() < 600u);
    }
}

// Bytes struck out, doubled, replaced; also by what parsers trip over.
std::string mutated(std::string text) {
    const char* const pieces[] = {
        "",   "-",     "0x", "ffffffffffffffffff", ":", "{", "}", "\"", "null", "[]",
        "\n", "1e999", "\0"};
    const auto edits = *rc::gen::inRange(1, 6);
    for (int i = 0; i < edits && !text.empty(); ++i) {
        const auto at = *rc::gen::inRange<size_t>(0, text.size());
        const auto length =
            *rc::gen::inRange<size_t>(0, std::min<size_t>(text.size() - at, 24) + 1);
        const auto kind = *rc::gen::inRange(0, 3);
        if (kind == 0) {
            text.erase(at, length);
        } else if (kind == 1) {
            text.insert(at, text.substr(at, length));
        } else {
            text.replace(at, length, pieces[*rc::gen::inRange<size_t>(0, std::size(pieces))]);
        }
    }
    return text;
}

RC_GTEST_PROP(Parsers, TakeAnyBytes, (const std::string& bytes)) {
    for (const Format format : {Format::AUTO, Format::RAW, Format::JSON, Format::KVM}) {
        answers(bytes, format);
    }
}
RC_GTEST_PROP(Parsers, TakeAnyBytesOfTheRightSize, ()) {
    std::string bytes(svm::VMCB_BYTES, '\0');
    for (int i = 0; i < 40; ++i) {
        bytes[*rc::gen::inRange<size_t>(0, bytes.size())] = *rc::gen::arbitrary<char>();
    }
    answers(bytes, Format::AUTO);
    const Input input = read_input(bytes, "f", Format::RAW);
    RC_ASSERT(std::memcmp(input.vmcb.get(), bytes.data(), bytes.size()) == 0);
}
RC_GTEST_PROP(Parsers, TakeSpoiledDumps, ()) {
    static const std::string text = sample("kvm-real-mode.log");
    answers(mutated(text), Format::AUTO);
    answers(mutated(text), Format::KVM);
}
RC_GTEST_PROP(Parsers, TakeSpoiledJson, ()) {
    static const std::string text = sample("broken.json");
    answers(mutated(text), Format::AUTO);
    answers(mutated(text), Format::JSON);
}

} // namespace
} // namespace horos::explain
