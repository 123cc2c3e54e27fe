#include "histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_quantiles_are_within_a_bucket(void **state)
{
        (void)state;
        struct histogram h = { 0 };

        assert_int_equal(histogram_quantile(&h, 0.5), 0);
        for (uint64_t v = 1; v <= 100000; v++)
                histogram_add(&h, v);
        assert_int_equal(h.count, 100000);
        assert_int_equal(h.max, 100000);
        assert_in_range(histogram_quantile(&h, 0.5), 50000, 51600);
        assert_in_range(histogram_quantile(&h, 0.99), 99000, 100000);
        assert_int_equal(histogram_quantile(&h, 1.0), 100000);
}

static void test_small_and_huge_values(void **state)
{
        (void)state;
        struct histogram h = { 0 }, all = { 0 };

        histogram_add(&h, 0);
        histogram_add(&h, 63);
        histogram_add(&h, 64);
        histogram_add(&h, UINT64_MAX);
        assert_int_equal(histogram_quantile(&h, 0.0), 0);
        assert_int_equal(histogram_quantile(&h, 0.25), 63);
        assert_in_range(histogram_quantile(&h, 0.5), 64, 65);
        assert_true(histogram_quantile(&h, 0.99) == UINT64_MAX);
        histogram_merge(&all, &h);
        histogram_merge(&all, &h);
        assert_int_equal(all.count, 8);
        assert_true(all.max == UINT64_MAX);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_quantiles_are_within_a_bucket),
                cmocka_unit_test(test_small_and_huge_values),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
