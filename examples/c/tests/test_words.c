#include "../src/words.h"
#include <assert.h>
#include <stdio.h>

int main(void)
{
    assert(words_distinct("") == 0);
    assert(words_distinct("a b a") == 2);
    assert(words_distinct("to build is to be") == 4);
    puts("ok");
    return 0;
}
