// SPDX-License-Identifier: Apache-2.0
// What is accepted, what is refused, and that refusals name the place.
#include "oci/state.h"
#include "oci/wire.h"
#include "base/test.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <linux/sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

static struct err e;
static int parse(struct spec **out, const char *text)
{
    e = (struct err){};
    struct spec *s = spec_new();
    int err = spec_parse(s, text, strlen(text), &e);
    if (err || !out)
        spec_free(s);
    else
        *out = s;
    return err;
}
#define CONFIG(process, rest) \
    "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"" \
    process "}" rest "}"

TEST(config_template)
{
    struct spec *s;
    assert_int_equal(parse(&s, spec_template()), 0);
    assert_string_equal(s->process.args.v[0], "sh");
    assert_true(s->root_readonly);
    assert_int_equal(s->nmounts, 7);
    assert_string_equal(s->mounts[1].data, "mode=755,size=65536k");
    assert_int_equal(s->mounts[1].flags, MS_NOSUID | MS_STRICTATIME);
    assert_int_equal(s->process.rlimits[0].which, RLIMIT_NOFILE);
    struct wire w = {.writing = true};
    wire_spec(&w, s);
    assert_false(w.bad);
    // Every prefix is refused, the whole is accepted.
    for (size_t n = 0; n <= w.out.len; n++) {
        struct spec *c = spec_new();
        struct wire r = {.in = span_of(w.out.p, n)};
        wire_spec(&r, c);
        assert_int_equal(r.bad, n != w.out.len);
        spec_free(c);
    }
    strbuf_free(&w.out);
    spec_free(s);
}

TEST(config_errors_name_the_place)
{
    static const struct {
        const char *text, *place;
    } bad[] = {
        {"", "unexpected end"},
        {"[]", "not a JSON object"},
        {"{\"ociVersion\": \"1.0.2\"}", "process"},
        {"{\"ociVersion\": \"2.0\"}", "ociVersion"},
        {CONFIG(",\"user\":{\"uid\":\"x\"}", ""), "process.user.uid"},
        {CONFIG(",\"user\":{\"uid\":-1}", ""), "process.user.uid"},
        {CONFIG(",\"user\":{\"uid\":4294967296}", ""), "process.user.uid"},
        {CONFIG(",\"user\":{\"additionalGids\":[1,null]}", ""), "additionalGids[1]"},
        {CONFIG(",\"user\":{\"umask\":512}", ""), "process.user.umask"},
        {CONFIG(",\"env\":[1]", ""), "process.env[0]"},
        {CONFIG(",\"env\":[\"a\\u0000b\"]", ""), "NUL"},
        {CONFIG(",\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":2,\"hard\":1}]", ""), "soft"},
        {CONFIG("", ",\"hostname\":7"), "hostname"},
        {CONFIG("", ",\"mounts\":[{\"destination\":\"x\",\"type\":\"proc\"}]"),
         "mounts[0].destination"},
        {CONFIG("", ",\"mounts\":[{\"destination\":\"/x\",\"type\":\"bind\"}]"),
         "mounts[0].source"},
        {CONFIG("", ",\"linux\":{\"namespaces\":[{\"type\":\"pod\"}]}"), "namespaces[0].type: pod"},
        {CONFIG("", ",\"linux\":{\"namespaces\":[{\"type\":\"pid\",\"path\":\"x\"}]}"), "absolute"},
        {CONFIG("", ",\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"pid\"}]}"), "twice"},
        {CONFIG("", ",\"linux\":{\"uidMappings\":[{\"containerID\":0,\"hostID\":1}]}"), "size"},
        {CONFIG("", ",\"linux\":{\"devices\":[{\"type\":\"x\",\"path\":\"/dev/x\"}]}"), "devices[0].type"},
        {CONFIG("", ",\"linux\":{\"seccomp\":{\"defaultAction\":\"SCMP_ACT_MAYBE\"}}"), "MAYBE"},
        {CONFIG("", ",\"linux\":{\"rootfsPropagation\":\"upwards\"}"), "rootfsPropagation: upwards"},
        {CONFIG("", ",\"hooks\":{\"prestart\":[{\"path\":\"hook\"}]}"), "hooks.prestart[0].path"},
        {CONFIG("", ",\"hooks\":{\"poststop\":[{\"path\":\"/h\",\"timeout\":0}]}"), "timeout"},
        {CONFIG("", "") "x", "follows"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_true(parse(nullptr, bad[i].text) < 0);
        if (!strstr(e.text, bad[i].place))
            fail_msg("case %zu: \"%s\" does not name %s", i, e.text, bad[i].place);
    }
}

TEST(config_warnings)
{
    struct spec *s;
    assert_int_equal(parse(&s, CONFIG(",\"capabilities\":{\"effective\":[\"CAP_X\",\"CAP_KILL\"]},"
                                      "\"apparmorProfile\":\"p\"", "")), 0);
    assert_int_equal(s->process.caps[CAPS_EFFECTIVE], 1 << 5);
    assert_int_equal(s->process.warnings.n, 2);
    assert_non_null(strstr(s->process.warnings.v[0], "process.capabilities.effective[0]"));
    assert_non_null(strstr(s->process.warnings.v[1], "apparmorProfile"));
    spec_free(s);
}

TEST(config_linux)
{
    struct spec *s;
    assert_int_equal(
        parse(&s, CONFIG("", ",\"linux\":{\"namespaces\":[{\"type\":\"network\",\"path\":\"/n\"},{\"type\":"
                             "\"user\"}],\"uidMappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":5}],"
                             "\"devices\":[{\"path\":\"/dev/z\",\"type\":\"c\",\"major\":1,\"minor\":5,"
                             "\"fileMode\":438}]},\"hooks\":{\"startContainer\":"
                             "[{\"path\":\"/h\",\"args\":[\"h\",\"a\"],\"env\":[\"A=1\"],\"timeout\":3}]}")),
        0);
    assert_string_equal(spec_namespace(s, CLONE_NEWNET)->path, "/n");
    assert_null(spec_namespace(s, CLONE_NEWUSER)->path);
    assert_null(spec_namespace(s, CLONE_NEWPID));
    assert_int_equal(s->uid_maps.v[0].outside, 1000);
    struct wire w = {.writing = true}, r = {};
    wire_spec(&w, s);
    assert_false(w.bad);
    struct spec *c = spec_new();
    r.in = span_of(w.out.p, w.out.len);
    wire_spec(&r, c);
    assert_false(r.bad);
    assert_int_equal(c->devices[0].minor, 5);
    assert_int_equal(c->devices[0].mode, 0666);
    assert_int_equal(c->hooks[HOOK_START_CONTAINER].v[0].timeout, 3);
    assert_string_equal(c->hooks[HOOK_START_CONTAINER].v[0].args.v[1], "a");
    strbuf_free(&w.out);
    spec_free(c);
    spec_free(s);
}

TEST(config_depth_and_size)
{
    char deep[400] = "{\"ociVersion\":";
    size_t n = strlen(deep);
    memset(deep + n, '[', 100);
    assert_true(parse(nullptr, deep) < 0);
    struct spec *s = spec_new();
    e = (struct err){};
    assert_int_equal(spec_parse(s, deep, SPEC_JSON_MAX + 1, &e), -EFBIG);
    spec_free(s);
}

TEST(config_values)
{
    struct spec *s;
    assert_int_equal(
        parse(&s, CONFIG(",\"user\":{\"uid\":7,\"gid\":8,\"additionalGids\":[3,1],\"umask\":18},"
                         "\"rlimits\":[{\"type\":\"RLIMIT_AS\",\"soft\":18446744073709551615,"
                         "\"hard\":18446744073709551615}],\"oomScoreAdj\":-5",
                         ",\"linux\":{\"resources\":{\"memory\":{\"limit\":1048576},"
                         "\"pids\":{\"limit\":-1}}},\"unknown\":{}")),
        0);
    assert_int_equal(s->process.uid, 7);
    assert_int_equal(s->process.umask, 18);
    assert_int_equal(s->process.ngids, 2);
    assert_true(s->process.rlimits[0].soft == UINT64_MAX);
    assert_int_equal(s->process.oom_score_adj, -5);
    assert_int_equal(s->memory_limit, 1048576);
    assert_int_equal(s->pids_limit, 0);
    spec_free(s);
}

TEST(state_ids)
{
    static const char *const good[] = {"a", "x-1.2_3+4", "..."}, *const bad[] = {
        "", ".", "..", "../x", "a/b", "a b", "a\n", "\xc3\xa4"};
    char longest[257];
    memset(longest, 'a', 256);
    longest[256] = 0;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(state_check_id(good[i], &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(state_check_id(bad[i], &e), -EINVAL);
    assert_int_equal(state_check_id(longest, &e), -EINVAL);
    assert_int_equal(state_check_id(longest + 1, &e), 0);
}

TEST(env_replaces)
{
    struct strlist env = {};
    assert_int_equal(env_set(&env, "A=1") | env_set(&env, "AB=2") | env_set(&env, "A=3"), 0);
    assert_int_equal(env.n, 2);
    assert_string_equal(env_get(&env, "A"), "3");
    assert_null(env_get(&env, "B"));
    strlist_free(&env);
}
